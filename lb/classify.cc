// SPDX-License-Identifier: Apache-2.0
#include "lb/classify.h"

#include <rte_hash.h>

#include <cstring>

#include "lb/parse.h"

namespace crab {
namespace {

// One bulk look-up for the burst's packets of one family. rte_hash prefetches both candidate
// buckets of every key before it compares any, which is what a look-up at a time cannot do. A key
// that repeats the one before it, as those of a busy service do, is looked up once.
template <typename Key>
class Batch {
 public:
  void add(std::uint8_t packet, const Key& key) {
    if (n_keys_ == 0 || !same(key, keys_[n_keys_ - 1])) {
      keys_[n_keys_] = key;
      pointers_[n_keys_] = &keys_[n_keys_];
      hashes_[n_keys_] = hash_of(key);
      ++n_keys_;
    }
    packets_[n_packets_++] = {packet, static_cast<std::uint8_t>(n_keys_ - 1)};
  }

  void look_up(const Burst& burst, const rte_hash* table) {
    if (n_keys_ == 0 || table == nullptr) return;
    std::uint64_t hits = 0;
    void* values[kMaxBurst];
    rte_hash_lookup_with_hash_bulk_data(table, pointers_, hashes_, n_keys_, &hits, values);
    for (unsigned i = 0; i < n_packets_; ++i) {
      const auto [packet, key] = packets_[i];
      if ((hits >> key & 1) == 0) continue;
      burst[packet].service =
          static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(values[key]));
    }
  }

 private:
  struct PacketKey {
    std::uint8_t packet;
    std::uint8_t key;
  };

  static bool same(const Key& a, const Key& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

  alignas(64) Key keys_[kMaxBurst];
  const void* pointers_[kMaxBurst];
  hash_sig_t hashes_[kMaxBurst];
  PacketKey packets_[kMaxBurst];
  unsigned n_keys_ = 0;
  unsigned n_packets_ = 0;
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
