// SPDX-License-Identifier: Apache-2.0
#include "lb/classify.h"

#include <rte_hash.h>

#include "lb/parse.h"

namespace crab {
namespace {

// One bulk look-up for the burst's packets of one family. rte_hash prefetches both candidate
// buckets of every key before it compares any, which is what a look-up at a time cannot do.
template <typename Key>
struct Batch {
  alignas(64) Key keys[kMaxBurst];
  const void* pointers[kMaxBurst];
  hash_sig_t hashes[kMaxBurst];
  std::uint8_t packets[kMaxBurst];
  unsigned n = 0;

  void add(std::uint8_t packet, const Key& key) {
    keys[n] = key;
    pointers[n] = &keys[n];
    hashes[n] = hash_of(key);
    packets[n] = packet;
    ++n;
  }

  void look_up(const Burst& burst, const rte_hash* table) {
    if (n == 0 || table == nullptr) return;
    std::uint64_t hits = 0;
    void* values[kMaxBurst];
    rte_hash_lookup_with_hash_bulk_data(table, pointers, hashes, n, &hits, values);
    for (; hits != 0; hits &= hits - 1) {
      const auto k = static_cast<unsigned>(__builtin_ctzll(hits));
      burst[packets[k]].service =
          static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(values[k]));
    }
  }
};

}  // namespace

void classify(Burst& burst, const Snapshot& snapshot) {
  Batch<Snapshot::Key4> v4;
  Batch<Snapshot::Key6> v6;
  for (const auto i : burst.live()) {
    Packet& packet = burst[i];
    packet.service = Snapshot::kNoService;
    if (packet.l4_length < kTcpHeaderMin) continue;  // no ports to look up: a fragment, or cut
    const auto port = load<std::uint16_t>(packet.l4() + 2);
    if (packet.family == Family::Ipv4) {
      v4.add(i, key4(packet.destination_address(), port));
    } else {
      v6.add(i, key6(packet.destination_address(), port));
    }
  }
  v4.look_up(burst, snapshot.table(Family::Ipv4));
  v6.look_up(burst, snapshot.table(Family::Ipv6));

  burst.filter([&](Packet& packet) {
    if (packet.service != Snapshot::kNoService) {
      return packet.vlan_tagged ? Burst::end(packet, Verdict::VlanTag) : true;
    }
    const bool whole = packet.l4_length >= kTcpHeaderMin;
    if (whole || !snapshot.is_virtual(packet.family, packet.destination_address())) {
      return Burst::end(packet, Verdict::Host);
    }
    return Burst::end(packet, packet.fragment ? Verdict::Fragment : Verdict::Truncated);
  });
}

}  // namespace crab
