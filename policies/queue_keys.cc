// SPDX-License-Identifier: Apache-2.0
#include "policies/queue_keys.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <new>
#include <numeric>

namespace crab {
namespace {

// Keys live between the origin and its antipode; most are near the least, some far above.
constexpr std::uint32_t kQuarter = 1U << 30;
constexpr std::uint32_t kMaxStep = 1U << 24;
constexpr std::uint32_t kMaxShare = 0xffff;  // what shares_ can count to

// Is the origin still about a quarter of the circle above?
bool is_near(std::uint32_t origin, std::uint32_t value) {
  return origin - value - kQuarter / 2 < kQuarter;
}

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

}  // namespace

void QueueKeys::Free::operator()(void* memory) const { std::free(memory); }

QueueKeys::Words QueueKeys::make_words(std::size_t n) {
  const std::size_t n_padded = round_up(std::max<std::size_t>(n, 1), 64);
  void* memory = std::aligned_alloc(64, n_padded * sizeof(Word));
  if (memory == nullptr) throw std::bad_alloc();
  auto* words = static_cast<Word*>(memory);
  for (std::size_t i = 0; i < n_padded; ++i) new (words + i) Word(0);
  return Words(words);
}

QueueKeys::QueueKeys(std::span<const std::uint32_t> weights, const ShareCap& cap,
                     std::uint64_t n_claimed)
    : n_(weights.size()),
      n_groups_(n_ > kFlat ? (n_ + kGroup - 1) / kGroup : 0),
      window_(cap.max_share > 0 ? std::uint64_t{cap.window} * n_ : 0),
      steps_(std::make_unique<std::uint32_t[]>(n_)),
      caps_(std::make_unique<std::uint32_t[]>(n_)),
      keys_(make_words(n_)),
      out_(make_words((n_ + 63) / 64)),
      group_least_(make_words(n_groups_)),
      group_out_(make_words((n_groups_ + 63) / 64)),
      shares_(std::make_unique<std::atomic<std::uint32_t>[]>(n_)),
      tie_origin_(static_cast<std::uint32_t>(n_claimed) + kQuarter),
      window_start_(n_claimed) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  const double mean = total / static_cast<double>(n_);
  for (std::size_t i = 0; i < n_; ++i) {
    equal_weights_ &= weights[i] == weights[0];
    const double step = std::round(kOne * mean / weights[i]);
    steps_[i] = static_cast<std::uint32_t>(std::clamp<double>(step, 1, kMaxStep));
    const double share = cap.max_share * static_cast<double>(window_) * weights[i] / total;
    caps_[i] =
        share > kMaxShare ? kNoCap : std::max(1U, static_cast<std::uint32_t>(std::ceil(share)));
    if (caps_[i] >= window_) caps_[i] = kNoCap;
  }
  for (std::size_t i = n_; i < round_up(n_, 64); ++i) out_[i / 64] |= std::uint64_t{1} << (i % 64);
  for (std::size_t g = n_groups_; g < round_up(n_groups_, 64); ++g) {
    group_out_[g / 64] |= std::uint64_t{1} << (g % 64);
  }
}

KeyOrigin QueueKeys::origin() const {
  return {center_.load(std::memory_order_relaxed), tie_origin_.load(std::memory_order_relaxed)};
}

LeastKey QueueKeys::least_in_group(std::size_t group, KeyOrigin origin) const {
  const std::size_t first = group * kGroup;
  // The bitmap's words are of 64 keys, a group is half a word: shifted here, not in the scan.
  const Word half(out_[first / 64].load(std::memory_order_relaxed) >> (first % 64));
  LeastKey found = find_least_key(keys_.get() + first, &half, kGroup, origin);
  if (found.index != LeastKey::kNone) found.index += static_cast<std::uint32_t>(first);
  return found;
}

// Makes the second level agree with the group, unless another thread that changed the group later
// has done so: the least key of a group names its value, so a compare-and-swap tells.
void QueueKeys::refresh_group(std::size_t group) {
  const std::uint64_t bit = std::uint64_t{1} << (group % 64);
  Word& out = group_out_[group / 64];
  for (int attempt = 0; attempt < 4; ++attempt) {
    std::uint64_t before = group_least_[group].load();
    const LeastKey found = least_in_group(group, origin());
    if (found.index == LeastKey::kNone) {
      out.fetch_or(bit);
      return;
    }
    if ((out.load(std::memory_order_relaxed) & bit) != 0) out.fetch_and(~bit);
    if (before == found.key || group_least_[group].compare_exchange_strong(before, found.key)) {
      return;
    }
  }
}

LeastKey QueueKeys::least_group(KeyOrigin from) const {
  return find_least_key(group_least_.get(), group_out_.get(), round_up(n_groups_, 8), from);
}

LeastKey QueueKeys::least() const {
  const KeyOrigin from = origin();
  if (n_groups_ == 0) return find_least_key(keys_.get(), out_.get(), round_up(n_, 8), from);
  const LeastKey group = least_group(from);
  return group.index == LeastKey::kNone ? group : least_in_group(group.index, from);
}

LeastKey QueueKeys::find() {
  if (n_groups_ == 0) return least();
  const KeyOrigin from = origin();
  LeastKey found;
  // A group whose second level is behind (a claim or a report is under way) is mended, and the
  // search goes on from there, once.
  for (int attempt = 0; attempt < 2; ++attempt) {
    const LeastKey group = least_group(from);
    if (group.index == LeastKey::kNone) return {};
    found = least_in_group(group.index, from);
    if (found.key == group.key && found.index != LeastKey::kNone) return found;
    refresh_group(group.index);
  }
  return found;
}

bool QueueKeys::claim(LeastKey found, std::uint32_t new_tie) {
  const std::uint64_t next = claimed_key(found, new_tie);
  return keys_[found.index].compare_exchange_strong(found.key, next);
}

void QueueKeys::claim_anyway(std::uint32_t i, std::uint32_t new_tie) {
  LeastKey now{i, keys_[i].load()};
  while (!keys_[i].compare_exchange_weak(now.key, claimed_key(now, new_tie))) {
  }
}

std::uint32_t QueueKeys::claim_least(std::uint64_t sequence, std::uint64_t random) {
  const std::uint32_t new_tie = tie(sequence, random);
  LeastKey found = find();
  if (found.index != LeastKey::kNone && !claim(found, new_tie)) {
    const LeastKey again = find();
    if (again.index != LeastKey::kNone) found = again;
    // Twice another thread was quicker. Its connection is in the key as well as ours.
    if (!claim(found, new_tie)) claim_anyway(found.index, new_tie);
  } else if (found.index == LeastKey::kNone) {
    // All are at their caps: only in the moment between two windows.
    found = {static_cast<std::uint32_t>(sequence % n_), keys_[sequence % n_].load()};
    claim_anyway(found.index, new_tie);
  }
  claimed(found.index, found.key, sequence);
  if (n_groups_ != 0) refresh_group(found.index / kGroup);
  return found.index;
}

LeastKey QueueKeys::least_of(std::span<const std::uint32_t> candidates) const {
  const KeyOrigin from = origin();
  const auto key_at = [this](std::uint32_t i) { return keys_[i].load(std::memory_order_relaxed); };
  LeastKey found{candidates[0], key_at(candidates[0])};
  bool found_capped = is_capped(found.index);
  for (const std::uint32_t i : candidates.subspan(1)) {
    const std::uint64_t key = key_at(i);
    const bool capped = is_capped(i);
    if (capped != found_capped ? found_capped : from.distance(key) < from.distance(found.key)) {
      found = {i, key};
      found_capped = capped;
    }
  }
  return found;
}

std::uint32_t QueueKeys::claim_least_of(std::span<const std::uint32_t> candidates,
                                        std::uint64_t sequence, std::uint64_t random) {
  const std::uint32_t new_tie = tie(sequence, random);
  LeastKey found = least_of(candidates);
  if (!claim(found, new_tie)) {
    found = least_of(candidates);
    if (!claim(found, new_tie)) claim_anyway(found.index, new_tie);
  }
  claimed(found.index, found.key, sequence);
  return found.index;
}

void QueueKeys::claimed(std::uint32_t i, std::uint64_t key, std::uint64_t sequence) {
  // The claimed key was the least, or near it, and its tie is the newest: the origin keeps a
  // quarter of the circle above both, far from the antipode where order turns round.
  if (!is_near(center_.load(std::memory_order_relaxed), estimate_of(key))) {
    center_.store(estimate_of(key) + kQuarter, std::memory_order_relaxed);
  }
  if (!is_near(tie_origin_.load(std::memory_order_relaxed), static_cast<std::uint32_t>(sequence))) {
    tie_origin_.store(static_cast<std::uint32_t>(sequence) + kQuarter, std::memory_order_relaxed);
  }
  if (window_ != 0) count_share(i, sequence);
}

void QueueKeys::count_share(std::uint32_t i, std::uint64_t sequence) {
  if (static_cast<std::int64_t>(sequence - window_start_.load(std::memory_order_relaxed)) >=
      static_cast<std::int64_t>(window_)) {
    start_window(sequence);
  }
  const std::uint32_t number = window_number_.load(std::memory_order_relaxed) << 16;
  const std::uint32_t share = shares_[i].load(std::memory_order_relaxed);
  // A plain store now and then loses another worker's count of the same moment: the cap is then
  // late by one connection, which is cheaper than a locked instruction for each.
  const std::uint32_t now = (share & ~kMaxShare) == number ? share + 1 : number | 1;
  if ((now & kMaxShare) != 0) shares_[i].store(now, std::memory_order_relaxed);
  if ((now & kMaxShare) >= caps_[i]) {
    out_[i / 64].fetch_or(std::uint64_t{1} << (i % 64));
  }
}

void QueueKeys::start_window(std::uint64_t sequence) {
  std::uint64_t start = window_start_.load();
  if (static_cast<std::int64_t>(sequence - start) < static_cast<std::int64_t>(window_) ||
      !window_start_.compare_exchange_strong(start, sequence)) {
    return;  // another worker was here first
  }
  window_number_.fetch_add(1);
  for (std::size_t word = 0; word < (n_ + 63) / 64; ++word) {
    const std::size_t n_here = std::min<std::size_t>(64, n_ - word * 64);
    const std::uint64_t padding = n_here == 64 ? 0 : ~std::uint64_t{0} << n_here;
    if (out_[word].load(std::memory_order_relaxed) == padding) continue;
    out_[word].store(padding);
    if (n_groups_ == 0) continue;
    for (std::size_t g = word * 2; g < std::min(word * 2 + 2, n_groups_); ++g) refresh_group(g);
  }
}

void QueueKeys::inherit_window(const QueueKeys& from) {
  if (window_ == 0 || from.window_ == 0) return;
  window_start_.store(from.window_start_.load());
  window_number_.store(from.window_number_.load());
}

void QueueKeys::inherit_share(std::size_t i, const QueueKeys& from, std::size_t j) {
  shares_[i].store(from.shares_[j].load(std::memory_order_relaxed), std::memory_order_relaxed);
  if (window_ != 0 && from.is_capped(j)) out_[i / 64].fetch_or(std::uint64_t{1} << (i % 64));
}

void QueueKeys::move(std::size_t i, std::uint32_t difference) {
  if (difference == 0) return;
  keys_[i].fetch_add(std::uint64_t{difference} << 32);
  if (n_groups_ != 0) refresh_group(i / kGroup);
}

void QueueKeys::set_least_estimate(std::uint32_t estimate) { center_.store(estimate + kQuarter); }

void QueueKeys::place(std::size_t i, std::uint64_t key) {
  keys_[i].store(key);
  if (n_groups_ != 0) refresh_group(i / kGroup);
}

}  // namespace crab
