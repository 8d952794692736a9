// SPDX-License-Identifier: Apache-2.0
#include "lb/counters.h"

#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

namespace crab {
namespace {

// One writer, two readers: whatever a reader sees is a state between two bursts.
TEST(WorkerCounters, EveryReadingIsConsistent) {
  WorkerCounters counters;
  std::atomic<bool> stop{false};
  const auto read = [&] {
    std::uint64_t n_readings = 0;
    std::uint64_t last = 0;
    while (!stop.load() || n_readings == 0) {
      const WorkerTotals totals = counters.read();
      ASSERT_EQ(totals.n_rx_packets,
                totals.verdict(Verdict::Redirected) + totals.verdict(Verdict::TxFull));
      ASSERT_GE(totals.n_rx_packets, last);
      last = totals.n_rx_packets;
      ++n_readings;
    }
  };
  std::thread first(read);
  std::thread second(read);
  for (std::uint64_t i = 0; i < 300'000; ++i) {
    auto& pending = counters.pending();
    pending.n_rx_packets += 3;
    pending.n_verdicts[static_cast<std::size_t>(Verdict::Redirected)] += 2;
    pending.n_verdicts[static_cast<std::size_t>(Verdict::TxFull)] += 1;
    counters.publish();
  }
  stop = true;
  first.join();
  second.join();
  EXPECT_EQ(counters.read().n_rx_packets, 900'000U);
}

TEST(WorkerCounters, SumsOverWorkersAndIdentifiersAtTheirLimits) {
  std::vector<std::unique_ptr<WorkerCounters>> workers;
  for (int i = 0; i < 3; ++i) {
    auto& worker = *workers.emplace_back(std::make_unique<WorkerCounters>());
    worker.pending().n_rx_packets = 5;
    worker.publish();
    worker.count_assignments(kMaxServices - 1, 4);
    worker.count_assignment_to(kMaxLoadSlots - 1);
    worker.count_refusal(0);
  }
  EXPECT_EQ(sum(workers).n_rx_packets, 15U);
  EXPECT_EQ(workers[2]->assigned_to_service(kMaxServices - 1), 4U);
  EXPECT_EQ(workers[2]->assigned_to_slot(kMaxLoadSlots - 1), 1U);
  EXPECT_EQ(workers[2]->refused_by_service(0), 1U);
}

TEST(Verdicts, HaveUniqueNames) {
  std::set<std::string_view> names;
  for (std::size_t v = 0; v < kVerdictCount; ++v) {
    EXPECT_TRUE(names.insert(name_of(static_cast<Verdict>(v))).second);
    EXPECT_FALSE(meaning_of(static_cast<Verdict>(v)).empty());
  }
}

}  // namespace
}  // namespace crab
