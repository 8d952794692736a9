// SPDX-License-Identifier: Apache-2.0
#include "lb/pipeline.h"

#include "lb/admit.h"
#include "lb/choose.h"
#include "lb/classify.h"
#include "lb/complete.h"
#include "lb/parse.h"
#include "lb/redirect.h"

namespace crab {

Pipeline::Pipeline(const PipelineSettings& settings, WorkerCounters& counters)
    : settings_(settings),
      counters_(counters),
      recent_syns_(settings.recent_syn_entries, settings.tsc_hz),
      answer_limit_(settings.answers_per_second, settings.tsc_hz) {}

void Pipeline::process(const Snapshot& snapshot, std::span<Packet> packets, std::uint64_t now_tsc) {
  WorkerTotals& totals = counters_.pending();
  totals.n_rx_packets += packets.size();
  for (const Packet& packet : packets) totals.n_rx_bytes += packet.length;

  Burst burst(packets);
  Unplaced unplaced;
  complete_checksums(burst, settings_.ports);
  parse(burst, settings_.ports);
  classify(burst, snapshot);
  admit(burst, snapshot, settings_.ports, counters_);
  recent_syns_.recall(burst, snapshot, now_tsc, unplaced, totals);
  choose(burst, snapshot, unplaced, counters_);
  recent_syns_.remember(burst, snapshot, unplaced);
  redirect(burst, snapshot);
  answer(burst, answer_limit_, now_tsc);
}

void Pipeline::account(std::span<const Packet> packets) {
  WorkerTotals& totals = counters_.pending();
  std::uint64_t n_redirected = 0;  // in a register: nearly all packets are, one after the other
  for (const Packet& packet : packets) {
    if (packet.verdict == Verdict::Redirected) {
      ++n_redirected;
    } else {
      ++totals.n_verdicts[static_cast<std::size_t>(packet.verdict)];
    }
  }
  totals.n_verdicts[static_cast<std::size_t>(Verdict::Redirected)] += n_redirected;
  counters_.publish();
}

}  // namespace crab
