// SPDX-License-Identifier: Apache-2.0
// Publication with real threads in the workers' place. Each snapshot's generation says which one a
// reader holds; the number of services in a snapshot, that it is whole.
#include "lb/publish.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/packet/eal_environment.h"

namespace crab {
namespace {

using std::chrono::milliseconds;

// Far longer than any of these threads needs, so that only a worker that is held back is late.
constexpr milliseconds kAmple{60'000};

// A policy whose set reports its release: that is how a test sees a snapshot freed.
struct Releases {
  std::atomic<int> n_sets{0};  // not yet released
  std::atomic<int> n_released{0};
};
Releases releases;

const crab_policy_ops kCounting = {
    .abi_version = CRAB_POLICY_ABI_VERSION,
    .struct_size = sizeof(crab_policy_ops),
    .flags = 0,
    .zero = 0,
    .name = "counting",
    .description = "counts its sets",
    .params = nullptr,
    .n_params = 0,
    .create =
        [](const crab_policy_host*, const crab_policy_kv*, size_t, void** instance, char*, size_t) {
          *instance = &releases;
          return 0;
        },
    .rebuild =
        [](void*, const crab_policy_backend*, size_t, void** set, char*, size_t) {
          ++releases.n_sets;
          *set = &releases;
          return 0;
        },
    .pick =
        [](void*, const void*, const crab_policy_flow*, uint32_t* picks, size_t n) {
          for (size_t i = 0; i < n; ++i) picks[i] = 0;
        },
    .update = nullptr,
    .explain = nullptr,
    .status = nullptr,
    .release =
        [](void*, void*) {
          --releases.n_sets;
          ++releases.n_released;
        },
    .destroy = [](void*) {},
    .self_test = nullptr,
};

std::unique_ptr<const Snapshot> counted(std::uint64_t generation) {
  ServiceSpec service;
  service.address = *IpAddress::parse("10.0.0.1");
  service.port = to_be(std::uint16_t{80});
  service.policy = PolicyInstance::create(kCounting, {});
  service.eligible.push_back({.id = "b",
                              .address = *IpAddress::parse("10.0.0.11"),
                              .port = to_be(std::uint16_t{80}),
                              .weight = 1,
                              .load_slot = 0,
                              .next_hop = {}});
  SnapshotSpec spec;
  spec.generation = generation;
  spec.services.push_back(std::move(service));
  return std::make_unique<const Snapshot>(spec);
}

class Publishing : public testing::Test {
 protected:
  void SetUp() override { releases.n_sets = releases.n_released = 0; }
  void TearDown() override { EXPECT_EQ(releases.n_sets, 0) << "a snapshot was never freed"; }
};

TEST_F(Publishing, WithoutWorkersOnlineIsAppliedAndFreesTheOldOne) {
  Publisher publisher(2);
  EXPECT_EQ(publisher.current(), nullptr);
  EXPECT_TRUE(publisher.publish(counted(1), kAmple).applied);
  EXPECT_EQ(publisher.current()->generation(), 1U);
  EXPECT_TRUE(publisher.publish(counted(2), kAmple).applied);
  EXPECT_EQ(publisher.current()->generation(), 2U);
  EXPECT_EQ(releases.n_released, 1);
}

TEST_F(Publishing, NamesTheWorkersThatDoNotFollowAndKeepsTheirSnapshot) {
  Publisher publisher(3);
  publisher.publish(counted(1), kAmple);
  for (unsigned worker = 0; worker < 3; ++worker) publisher.online(worker);
  publisher.offline(0);  // asleep: nobody waits for it
  const Snapshot* held = publisher.current();

  const auto outcome = publisher.publish(counted(2), milliseconds(0));
  EXPECT_FALSE(outcome.applied);
  EXPECT_EQ(outcome.stuck_workers, (std::vector<unsigned>{1, 2}));
  EXPECT_EQ(releases.n_released, 0);
  EXPECT_EQ(held->generation(), 1U);  // still there for who holds it

  publisher.quiescent(1);
  EXPECT_EQ(publisher.publish(counted(3), milliseconds(0)).stuck_workers,
            (std::vector<unsigned>{1, 2}));
  EXPECT_EQ(releases.n_released, 0);  // worker 2 may still use the first

  publisher.quiescent(1);
  publisher.quiescent(2);
  publisher.offline(1);
  publisher.offline(2);
  EXPECT_TRUE(publisher.publish(counted(4), kAmple).applied);
  EXPECT_EQ(releases.n_released, 3);
}

TEST_F(Publishing, ReadersNeverSeeAFreedSnapshotAndNeverGoBack) {
  constexpr unsigned kReaders = 2;
  constexpr std::uint64_t kGenerations = 300;
  Publisher publisher(kReaders);
  publisher.publish(counted(1), kAmple);
  std::atomic<bool> stop{false};
  std::atomic<bool> wrong{false};
  std::vector<std::thread> readers;
  for (unsigned worker = 0; worker < kReaders; ++worker) {
    readers.emplace_back([&, worker] {
      std::uint64_t newest = 0;
      publisher.online(worker);
      while (!stop.load()) {
        const Snapshot* seen = publisher.current();
        // A freed snapshot has no services any more, and the sanitizers see the read besides.
        if (seen->services().size() != 1 || seen->generation() < newest) wrong = true;
        newest = seen->generation();
        publisher.quiescent(worker);
        std::this_thread::yield();
      }
      publisher.offline(worker);
    });
  }
  for (std::uint64_t generation = 2; generation <= kGenerations; ++generation) {
    ASSERT_TRUE(publisher.publish(counted(generation), kAmple).applied);
    // All have passed a quiescent point: nothing older is left.
    ASSERT_EQ(releases.n_sets, 1);
  }
  stop = true;
  for (std::thread& reader : readers) reader.join();
  EXPECT_FALSE(wrong);
}

TEST_F(Publishing, TheLatchRunsBetweenSwapAndReclaim) {
  Publisher publisher(1);
  publisher.publish(counted(1), kAmple);
  publisher.online(0);
  struct Seen {
    Publisher& publisher;
    std::uint64_t generation = 0;
    int n_released = -1;
  } seen{publisher};
  publisher.set_after_swap_for_test(
      [](void* argument) {
        auto& at = *static_cast<Seen*>(argument);
        at.generation = at.publisher.current()->generation();
        at.n_released = releases.n_released;
        at.publisher.quiescent(0);
      },
      &seen);
  EXPECT_TRUE(publisher.publish(counted(2), kAmple).applied);
  EXPECT_EQ(seen.generation, 2U);
  EXPECT_EQ(seen.n_released, 0);
  EXPECT_EQ(releases.n_released, 1);
  publisher.offline(0);
}

}  // namespace
}  // namespace crab
