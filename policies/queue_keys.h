// SPDX-License-Identifier: Apache-2.0
// The keys of one set of backends under a load-aware policy: an array of 64-bit numbers, the least
// of which says where the next connection goes. Shared by all workers: a pick scans, and claims
// what it found by compare-and-swap.
//
//   key = estimate << 32 | tie
//   estimate: (open + unconfirmed + 1) / weight + drain clock, in 1/1024 connections on a backend
//             of the mean weight, modulo 2^32 (POLICIES.md, finding 2)
//   tie:      when last assigned, so that ties go to the least recently used; or random
//
// Up to kFlat backends are scanned at once. Beyond, each group of kGroup keys has its least key in
// a second array, and a pick scans that and one group.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "policies/least_key.h"

namespace crab {

class QueueKeys {
 public:
  static constexpr std::uint32_t kOne = 1U << 10;  // a connection at mean weight
  static constexpr std::size_t kFlat = 128;
  static constexpr std::size_t kGroup = 32;
  static constexpr unsigned kScaleBits = 4;

  // No backend gets more than max_share times its share out of each window of connections.
  struct ShareCap {
    double max_share = 0;      // 0: no cap
    std::uint32_t window = 0;  // connections for each backend, on average
  };

  // Throws std::bad_alloc. All keys are zero, to be placed before the first pick. `n_claimed` is
  // the instance's count of connections by now.
  QueueKeys(std::span<const std::uint32_t> weights, const ShareCap& cap, std::uint64_t n_claimed);

  std::size_t size() const { return n_; }
  // What one connection adds to that backend's estimate, without the scale.
  std::uint32_t step(std::size_t i) const { return steps_[i]; }
  bool equal_weights() const { return equal_weights_; }

  // Control thread, while workers pick: changes the estimate alone, by a difference, so that a
  // claim made meanwhile is not lost.
  std::uint64_t key(std::size_t i) const { return keys_[i].load(std::memory_order_relaxed); }
  static std::uint32_t estimate_of(std::uint64_t key) {
    return static_cast<std::uint32_t>(key >> 32);
  }
  void move(std::size_t i, std::uint32_t difference);
  // Before the first pick, or in a test.
  void place(std::size_t i, std::uint64_t key);
  // Before the first pick: about where the least estimate is. Workers move it on as keys grow.
  void set_least_estimate(std::uint32_t estimate);
  // The tie that counts as least recently used of all.
  std::uint32_t oldest_tie() const { return tie_origin_.load(std::memory_order_relaxed); }
  // Claims count scale/16 connections: with several nodes each sees only its own part.
  void set_scale(std::uint32_t sixteenths) { scale_.store(sixteenths, std::memory_order_relaxed); }
  std::uint32_t scale() const { return scale_.load(std::memory_order_relaxed); }
  void set_random_ties(bool on) { random_ties_.store(on, std::memory_order_relaxed); }

  // Takes over how much of its window each backend has used, from a predecessor's backend.
  void inherit_window(const QueueKeys& from);
  void inherit_share(std::size_t i, const QueueKeys& from, std::size_t j);

  // Any worker. `sequence` numbers the instance's connections from 0. The least key of all, or of
  // those candidates: claimed, with one re-pick if another thread claimed it meanwhile.
  std::uint32_t claim_least(std::uint64_t sequence, std::uint64_t random);
  // The same for several connections, numbered from `sequence`, whose random numbers random(k)
  // gives: where all keys fit into one scan, they are read once, and what others claim meanwhile
  // is seen when it is in the way.
  template <typename Random>
  void claim_least(std::uint64_t sequence, Random&& random, std::span<std::uint32_t> picks);
  std::uint32_t claim_least_of(std::span<const std::uint32_t> candidates, std::uint64_t sequence,
                               std::uint64_t random);
  // What claim_least would take now.
  LeastKey least() const;
  // What claim_least_of would take now: of those that are not at their cap, if there are any.
  LeastKey least_of(std::span<const std::uint32_t> candidates) const;
  bool is_capped(std::size_t i) const {
    return (out_[i / 64].load(std::memory_order_relaxed) >> (i % 64) & 1) != 0;
  }

 private:
  using Word = std::atomic<std::uint64_t>;
  struct Free {
    void operator()(void* memory) const;
  };
  using Words = std::unique_ptr<Word[], Free>;
  static Words make_words(std::size_t n);

  KeyOrigin origin() const;
  LeastKey least_group(KeyOrigin origin) const;
  LeastKey least_in_group(std::size_t group, KeyOrigin origin) const;
  LeastKey find();
  void refresh_group(std::size_t group);
  std::uint64_t claimed_key(LeastKey found, std::uint32_t tie) const {
    const std::uint32_t estimate = estimate_of(found.key) + scaled_step(found.index);
    return std::uint64_t{estimate} << 32 | tie;
  }
  bool claim(LeastKey found, std::uint32_t tie);
  void claim_anyway(std::uint32_t i, std::uint32_t tie);
  void claimed(std::uint32_t i, std::uint64_t key, std::uint64_t sequence);
  void count_share(std::uint32_t i, std::uint64_t sequence);
  void start_window(std::uint64_t sequence);
  std::uint32_t scaled_step(std::size_t i) const {
    return steps_[i] * scale_.load(std::memory_order_relaxed) >> kScaleBits;
  }
  std::uint32_t tie(std::uint64_t sequence, std::uint64_t random) const {
    return static_cast<std::uint32_t>(random_ties_.load(std::memory_order_relaxed) ? random
                                                                                   : sequence);
  }

  // Fixed once built.
  std::size_t n_;
  std::size_t n_groups_;  // 0: flat
  bool equal_weights_ = true;
  std::uint64_t window_;  // connections; 0: no cap
  std::unique_ptr<std::uint32_t[]> steps_;
  static constexpr std::uint32_t kNoCap = ~0U;
  std::unique_ptr<std::uint32_t[]> caps_;  // connections out of a window

  // Written by workers and by the control thread.
  Words keys_;  // padded to a multiple of 64
  Words out_;   // a bit for each key: at its cap, or padding
  Words group_least_;
  Words group_out_;
  std::unique_ptr<std::atomic<std::uint32_t>[]> shares_;  // window number << 16 | claims in it
  // The origin that keys are compared from: see claimed().
  alignas(64) std::atomic<std::uint32_t> center_{0};
  std::atomic<std::uint32_t> tie_origin_;
  std::atomic<std::uint32_t> scale_{1U << kScaleBits};
  std::atomic<bool> random_ties_{false};
  std::atomic<std::uint64_t> window_start_;  // sequence number; its window number counts them
  std::atomic<std::uint32_t> window_number_{0};
};

template <typename Random>
void QueueKeys::claim_least(std::uint64_t sequence, Random&& random,
                            std::span<std::uint32_t> picks) {
  if (n_groups_ != 0 || picks.size() == 1) {
    for (std::size_t k = 0; k < picks.size(); ++k) {
      picks[k] = claim_least(sequence + k, random(k));
    }
    return;
  }
  alignas(64) std::int64_t distances[kFlat];
  const std::size_t n_scanned = (n_ + 7) / 8 * 8;
  const KeyOrigin from = origin();
  kKeyScan.measure(keys_.get(), out_.get(), n_scanned, from, distances);
  for (std::size_t k = 0; k < picks.size(); ++k, ++sequence) {
    const Nearest nearest = kKeyScan.nearest(distances, n_scanned);
    const LeastKey found{nearest.index, from.key(nearest.distance)};
    const std::uint32_t new_tie = tie(sequence, random(k));
    if (nearest.distance == kFarthest || !claim(found, new_tie)) {
      // Another thread was here: look again at all of them.
      picks[k] = claim_least(sequence, random(k));
      kKeyScan.measure(keys_.get(), out_.get(), n_scanned, from, distances);
      continue;
    }
    picks[k] = found.index;
    claimed(found.index, found.key, sequence);
    distances[found.index] =
        is_capped(found.index) ? kFarthest : from.distance(claimed_key(found, new_tie));
  }
}

}  // namespace crab
