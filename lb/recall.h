// SPDX-License-Identifier: Apache-2.0
// Stage 4: the recent-SYN table. A retransmitted SYN (same 5-tuple, same ISN) goes to the backend
// that the first one went to and is not counted again; a new ISN is a new connection.
//
// One table per worker: RSS and AF_PACKET's fanout give a 5-tuple to the same worker each time, so
// that nothing is shared. Eight bytes an entry, in buckets of one cache line: a look-up touches
// one line, nothing is scanned or rehashed, and a full bucket forgets its oldest.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "lb/counters.h"
#include "lb/packet.h"
#include "lb/snapshot.h"

namespace crab {

// The packets of a burst that a policy has to place. A SYN that came twice in one burst is placed
// once; `duplicates` follow their original.
struct Unplaced {
  std::array<std::uint8_t, kMaxBurst> packets;
  unsigned n = 0;
  struct Duplicate {
    std::uint8_t packet;
    std::uint8_t original;
  };
  std::array<Duplicate, kMaxBurst> duplicates;
  unsigned n_duplicates = 0;

  std::span<const std::uint8_t> indices() const { return {packets.data(), n}; }
};

class RecentSyns {
 public:
  // What a client may rely on: a SYN is remembered this long unless the table overflows, which
  // n_recall_evicted counts (DESIGN, section 3).
  static constexpr double kPromisedSeconds = 3.0;
  // And this long at most; seen again, it counts from then. Linux waits 32 s between its fifth and
  // sixth retransmission (RFC 6298, 5.5, from one second).
  static constexpr double kLifetimeSeconds = 60.0;
  static constexpr std::uint32_t kMaxEntries = 1U << 28;

  // n_entries is rounded up to a power of two, at least one bucket.
  RecentSyns(std::uint32_t n_entries, std::uint64_t tsc_hz);

  // Gives known packets their backend; the others go into `unplaced`, and their place in the
  // table is taken.
  void recall(const Burst& burst, const Snapshot& snapshot, std::uint64_t now_tsc,
              Unplaced& unplaced, WorkerTotals& totals);

  // After the policy has placed them: fills those places, or frees them where a packet's verdict
  // is not Redirected; then lets the duplicates follow.
  void remember(const Burst& burst, const Snapshot& snapshot, const Unplaced& unplaced);

 private:
  // Bits 63..38: fingerprint; 37..16: load slot, or kPending | index in the burst; 15..0: when
  // last seen, in ticks, modulo their range. Zero: free. Of two flows that share a bucket, one is
  // taken for the other with probability 2^-26.
  using Cell = std::uint64_t;
  static constexpr unsigned kCellsPerBucket = 8;
  static constexpr unsigned kFingerprintShift = 38;
  static constexpr unsigned kSlotShift = 16;
  static constexpr std::uint32_t kSlotMask = (1U << 22) - 1;
  static constexpr std::uint32_t kPending = 1U << 21;
  static_assert(kMaxLoadSlots <= kPending);

  // Newest first, so that the oldest is always the last.
  struct alignas(64) Bucket {
    Cell cells[kCellsPerBucket];
  };
  struct Unmap {
    std::size_t n_bytes;
    void operator()(Bucket* buckets) const;
  };

  static std::uint32_t slot_of(Cell cell) {
    return static_cast<std::uint32_t>(cell >> kSlotShift) & kSlotMask;
  }
  static Cell make_cell(std::uint64_t hash, std::uint32_t slot, std::uint16_t tick) {
    return (hash >> kFingerprintShift << kFingerprintShift) | Cell{slot} << kSlotShift | tick;
  }
  // The first cell with the hash's fingerprint, or kCellsPerBucket.
  static unsigned find(const Bucket& bucket, std::uint64_t hash);
  // push_front forgets the last cell, move_to_front the one at that position.
  static void push_front(Bucket& bucket, Cell cell);
  static void move_to_front(Bucket& bucket, unsigned position, Cell cell);

  Bucket& bucket_of(std::uint64_t hash) const { return buckets_.get()[hash & bucket_mask_]; }
  std::uint64_t hash_flow(const Packet& packet) const;
  void recall_one(const Burst& burst, std::uint8_t i, const Snapshot& snapshot, std::uint16_t tick,
                  Unplaced& unplaced, WorkerTotals& totals);

  std::unique_ptr<Bucket[], Unmap> buckets_;
  std::uint64_t bucket_mask_;
  unsigned tick_shift_;  // a tick is 2^tick_shift_ cycles, 1/64 to 1/32 of a second
  std::uint16_t promised_ticks_;
  std::uint16_t lifetime_ticks_;
  std::array<std::uint64_t, 6> secrets_;  // random, odd: nobody outside can aim collisions
};

}  // namespace crab
