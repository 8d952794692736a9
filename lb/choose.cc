// SPDX-License-Identifier: Apache-2.0
#include "lb/choose.h"

#include "lb/tuple_hash.h"

namespace crab {
namespace {

void place(const Burst& burst, const ServiceEntry& service, std::span<const std::uint8_t> packets,
           WorkerCounters& counters) {
  std::array<crab_policy_flow, kMaxBurst> flows;
  std::array<std::uint32_t, kMaxBurst> picks;
  const std::size_t n = packets.size();
  const bool needs_tuple_hash = service.policy.needs_tuple_hash();
  for (std::size_t k = 0; k < n; ++k) {
    const Packet& packet = burst[packets[k]];
    flows[k] = {
        packet.flow_hash,
        needs_tuple_hash ? hash_tuple(packet.family, packet.source_address(), packet.l4()) : 0};
  }
  service.policy.pick({flows.data(), n}, {picks.data(), n});

  std::size_t n_placed = n;
  for (std::size_t k = 0; k < n; ++k) {
    Packet& packet = burst[packets[k]];
    if (picks[k] >= service.backends.size()) {
      packet.verdict = Verdict::PolicyRange;
      counters.count_refusal(service.id);
      --n_placed;
      continue;
    }
    packet.backend = picks[k];
    counters.count_assignment_to(service.backends[picks[k]].load_slot);
  }
  counters.count_assignments(service.id, n_placed);
}

}  // namespace

void choose(const Burst& burst, const Snapshot& snapshot, const Unplaced& unplaced,
            WorkerCounters& counters) {
  // Takes the first packet's service, moves what is of other services to the front of the rest,
  // and goes on with those: one pass when all are of one service, which is the usual burst.
  std::array<std::uint8_t, kMaxBurst> rest = unplaced.packets;
  std::array<std::uint8_t, kMaxBurst> same;
  for (unsigned n = unplaced.n; n > 0;) {
    const std::uint32_t service = burst[rest[0]].service;
    unsigned n_same = 0;
    unsigned n_other = 0;
    for (unsigned k = 0; k < n; ++k) {
      const std::uint8_t i = rest[k];
      same[n_same] = i;
      rest[n_other] = i;
      const bool is_same = burst[i].service == service;
      n_same += is_same ? 1U : 0U;
      n_other += is_same ? 0U : 1U;
    }
    place(burst, snapshot.service(service), {same.data(), n_same}, counters);
    n = n_other;
  }
}

}  // namespace crab
