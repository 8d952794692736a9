// SPDX-License-Identifier: Apache-2.0
#include "lb/choose.h"

namespace crab {
namespace {

// The same on every node and in every run, so that a consistent policy keeps a tuple where it is.
// Known to everybody: who chooses his ports can choose his backend.
__extension__ using Product = unsigned __int128;

std::uint64_t hash_tuple(const Packet& packet) {
  constexpr std::array<std::uint64_t, 5> kOdd = {0x9e3779b97f4a7c15, 0xbf58476d1ce4e5b9,
                                                 0x94d049bb133111eb, 0xd6e8feb86659fd93,
                                                 0xa0761d6478bd642f};
  const std::size_t n_bytes = packet.family == Family::Ipv4 ? 8 : 32;  // both addresses, adjacent
  std::uint64_t hash = load<std::uint32_t>(packet.l4()) * kOdd[4];
  for (std::size_t k = 0; k < n_bytes / 8; ++k) {
    const auto word = load<std::uint64_t>(packet.source_address() + 8 * k) ^ kOdd[k];
    const Product product = Product{word} * (hash ^ kOdd[4 - k]);
    hash = static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  hash = (hash ^ hash >> 32) * kOdd[0];
  return hash ^ hash >> 29;
}

void place(const Burst& burst, const ServiceEntry& service, std::span<const std::uint8_t> packets,
           WorkerCounters& counters) {
  std::array<crab_policy_flow, kMaxBurst> flows;
  std::array<std::uint32_t, kMaxBurst> picks;
  const std::size_t n = packets.size();
  const bool needs_tuple_hash = service.policy.needs_tuple_hash();
  for (std::size_t k = 0; k < n; ++k) {
    const Packet& packet = burst[packets[k]];
    flows[k] = {packet.flow_hash, needs_tuple_hash ? hash_tuple(packet) : 0};
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
