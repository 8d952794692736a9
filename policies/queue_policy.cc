// SPDX-License-Identifier: Apache-2.0
#include "policies/queue_policy.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "policies/splitmix.h"

namespace crab {
namespace {

constexpr std::uint32_t kOne = QueueKeys::kOne;
constexpr std::uint64_t kMaxQueue = std::uint64_t{1} << 30;  // in fractions, above the clock
constexpr std::uint64_t kSettleOthersNs = 1'000'000;
constexpr std::uint32_t kMaxScale = 64U << QueueKeys::kScaleBits;

std::vector<std::uint32_t> weights_of(std::span<const crab_policy_backend> backends) {
  std::vector<std::uint32_t> weights;
  weights.reserve(backends.size());
  for (const auto& backend : backends) weights.push_back(backend.weight);
  return weights;
}

// The k-th number out of one random number.
std::uint64_t nth_random(std::uint64_t random, std::uint64_t k) {
  return splitmix(random + k * kSplitmixStep);
}

bool is_before(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) < 0; }

}  // namespace

QueuePolicy::QueuePolicy(const crab_policy_host& host, const Parameters& parameters,
                         std::uint64_t n_claimed, std::uint32_t clock)
    : host_(host),
      parameters_(parameters),
      n_claimed_(n_claimed),
      n_choices_(parameters.n_choices),
      clock_at_(n_claimed),
      clock_(clock) {}

// The drain clock, V of POLICIES.md, finding 2: every connection is one that the n backends
// together have to have finished by and by, so each has drained by 1/n.
std::uint32_t QueuePolicy::clock_now() const {
  const std::uint64_t n = n_claimed_.load(std::memory_order_relaxed) - clock_at_;
  return clock_ + static_cast<std::uint32_t>((n * kOne + clock_remainder_) / clock_backends_);
}

// From now on the clock goes at this set's pace.
void QueuePolicy::advance_clock(const QueueSet& set) {
  const std::uint64_t now = n_claimed_.load(std::memory_order_relaxed);
  const std::uint64_t n = (now - clock_at_) * kOne + clock_remainder_;
  clock_ += static_cast<std::uint32_t>(n / clock_backends_);
  clock_remainder_ = static_cast<std::uint32_t>(n % clock_backends_);
  clock_at_ = now;
  if (clock_backends_ == set.keys.size()) return;
  clock_backends_ = set.keys.size();
  clock_remainder_ = 0;
}

std::uint32_t QueuePolicy::shift_at(std::uint32_t clock) const {
  return still_rule_ ? still_base_ - clock : shift_;
}

// What the estimate of backend i has to be.
std::uint32_t QueuePolicy::target(const QueueSet& set, const QueueSet::Backend& backend,
                                  std::size_t i, const crab_policy_load& load,
                                  std::uint32_t now) const {
  std::uint32_t drained = backend.clock + shift_at(now);
  // With equal weights all else is whole connections; whole drains make ties, which LRU decides
  // better than fractions do (finding 2).
  if (set.keys.equal_weights()) drained &= ~(kOne - 1);
  const std::uint64_t step = set.keys.step(i);
  if (load.source == CRAB_LOAD_ASSIGNED) {
    return drained + static_cast<std::uint32_t>((load.assigned - backend.assigned_base + 1) * step);
  }
  const std::uint64_t n_unconfirmed =
      std::uint64_t{load.unconfirmed} * set.keys.scale() * step >> QueueKeys::kScaleBits;
  const std::uint64_t queue = (std::uint64_t{load.open} + 1) * step + n_unconfirmed;
  return drained + static_cast<std::uint32_t>(std::min(queue, kMaxQueue));
}

// What has been learnt since this backend was last looked at.
void QueuePolicy::observe(QueueSet::Backend& backend, const crab_policy_load& load) {
  if (load.source != backend.source) {
    if (load.source == CRAB_LOAD_ASSIGNED) {
      backend.assigned_base = load.assigned;
      backend.clock = clock_now();
    }
    backend.source = load.source;
  }
  if (load.n_reports == backend.n_reports || load.source == CRAB_LOAD_ASSIGNED) return;
  const std::uint64_t n_own = load.accepted_own - backend.accepted_own;
  const std::uint64_t n_total = load.accepted_total - backend.accepted_total;
  const bool is_comparable = backend.n_reports != 0 && load.accepted_own >= backend.accepted_own &&
                             load.accepted_total >= backend.accepted_total && n_own <= n_total;
  if (is_comparable) {
    const std::uint64_t n_others = n_total - n_own;
    // A report that an event caused tells of that event at once; what else is in it is news.
    const std::uint64_t n_at_once = load.source == CRAB_LOAD_EVENT ? 1 : 0;
    n_own_ += n_own;
    n_total_ += n_total;
    n_unseen_ += n_others - std::min(n_others, n_at_once);
    ++n_observed_;
  }
  n_periodic_reports_ += load.source == CRAB_LOAD_PERIODIC ? 1 : 0;
  backend.n_reports = load.n_reports;
  backend.accepted_own = load.accepted_own;
  backend.accepted_total = load.accepted_total;
  backend.clock = clock_now();
}

// POLICIES.md, finding 6: h, the others' assignments to a backend for each age of what we know of
// it, says whether nodes that look at the same queues would herd.
void QueuePolicy::learn_nodes(QueueSet& set) {
  if (n_observed_ < std::max<std::size_t>(64, 2 * set.keys.size()) || n_total_ < 64) return;
  const double h = static_cast<double>(n_unseen_) / static_cast<double>(n_observed_);
  several_nodes_ = n_total_ > n_own_ + n_own_ / 50;
  herding_ = several_nodes_ && h > (herding_ ? 0.04 : 0.05);
  const std::uint64_t ratio =
      (n_total_ << QueueKeys::kScaleBits) / std::max<std::uint64_t>(1, n_own_);
  const auto scale = static_cast<std::uint32_t>(std::min<std::uint64_t>(ratio, kMaxScale));
  set.keys.set_scale(herding_ ? scale : 1U << QueueKeys::kScaleBits);
  set.keys.set_random_ties(several_nodes_);
  if (parameters_.n_choices == 0) {
    n_choices_.store(herding_ ? kChoicesWhenHerding : 0, std::memory_order_relaxed);
  }
  n_own_ = n_total_ = n_unseen_ = n_observed_ = 0;
}

// Connections to a backend between two of its reports, on average. Below about one, what drains in
// between is less than what draining it by guesswork would add: simulated, at T = S and load .8 the
// p99 of fixed service times is 1.20 without the drain clock and 1.39 with it, at T = 2 S 1.98 and
// 1.40.
void QueuePolicy::measure_age(const QueueSet& set) {
  if (n_periodic_reports_ < std::max<std::size_t>(64, 4 * set.n_periodic_)) return;
  const std::uint64_t now = n_claimed_.load(std::memory_order_relaxed);
  const double n_rounds = static_cast<double>(n_periodic_reports_) /
                          static_cast<double>(std::max<std::size_t>(1, set.n_periodic_));
  const double n_each =
      static_cast<double>(now - measured_at_) / static_cast<double>(set.keys.size());
  periodic_is_fresh_ = n_each < (periodic_is_fresh_ ? 1.1 : 1.0) * n_rounds;
  n_periodic_reports_ = 0;
  measured_at_ = now;
}

bool QueuePolicy::stands_still(std::uint32_t source) const {
  return source == CRAB_LOAD_EVENT || (source == CRAB_LOAD_PERIODIC && periodic_is_fresh_);
}

std::size_t QueuePolicy::n_still(const QueueSet& set) const {
  return set.n_event_ + (periodic_is_fresh_ ? set.n_periodic_ : 0);
}

void QueuePolicy::settle(QueueSet& set, std::size_t i) {
  QueueSet::Backend& backend = set.backends_[i];
  crab_policy_load load{};
  // A claim that is under way between the two readings is counted twice or not at all until the
  // next settling mends it.
  const std::uint32_t before = QueueKeys::estimate_of(set.keys.key(i));
  host_.load(host_.context, backend.load_slot, &load);
  set.count_source(backend.source, -1);
  observe(backend, load);
  set.count_source(backend.source, 1);
  const std::uint32_t now = clock_now();
  if (still_rule_ && stands_still(backend.source)) backend.clock = now;
  set.keys.move(i, target(set, backend, i, load, now) - before);
}

// Where most backends report every close, or often enough, what was reported stays true until the
// next report: they stand still, and only the others drain (POLICIES.md, finding 3).
void QueuePolicy::follow_rule(QueueSet& set) {
  const bool still_rule = n_still(set) > 0 && 2 * n_still(set) >= set.keys.size();
  if (still_rule == still_rule_) return;
  const std::uint32_t now = clock_now();
  shift_ = shift_at(now);
  still_base_ = now + shift_;
  still_rule_ = still_rule;
  for (std::size_t i = 0; i < set.backends_.size(); ++i) settle(set, i);
}

void QueuePolicy::update(QueueSet& set, std::span<const std::uint32_t> indices,
                         std::uint64_t now_ns) {
  advance_clock(set);
  in_force_ = &set;
  for (const std::uint32_t i : indices) settle(set, i);
  learn_nodes(set);
  measure_age(set);
  follow_rule(set);
  if (!still_rule_ || n_still(set) == set.keys.size()) return;
  if (now_ns - settled_others_ns_ < kSettleOthersNs) return;
  settled_others_ns_ = now_ns;
  for (std::size_t i = 0; i < set.backends_.size(); ++i) {
    if (!stands_still(set.backends_[i].source)) settle(set, i);
  }
}

std::unique_ptr<QueueSet> QueuePolicy::rebuild(std::span<const crab_policy_backend> backends) {
  const std::vector<std::uint32_t> weights = weights_of(backends);
  const QueueKeys::ShareCap cap{parameters_.max_share, parameters_.share_window};
  std::unique_ptr<QueueSet> set(
      new QueueSet(weights, cap, n_claimed_.load(std::memory_order_relaxed)));
  const QueueSet* const before = in_force_;
  std::unordered_map<std::uint32_t, std::size_t> known;
  if (before != nullptr) {
    for (std::size_t i = 0; i < before->backends_.size(); ++i) {
      known.emplace(before->backends_[i].load_slot, i);
    }
    set->keys.inherit_window(before->keys);
    set->keys.set_scale(before->keys.scale());
    set->keys.set_random_ties(several_nodes_);
  }
  const std::uint32_t now = clock_now();
  std::vector<std::uint64_t> keys(backends.size());
  for (std::size_t i = 0; i < backends.size(); ++i) {
    crab_policy_load load{};
    host_.load(host_.context, backends[i].load_slot, &load);
    QueueSet::Backend backend;
    std::uint32_t tie = set->keys.oldest_tie();
    const auto found = known.find(backends[i].load_slot);
    if (before != nullptr && found != known.end()) {
      const std::size_t j = found->second;
      backend = before->backends_[j];
      const std::uint64_t key = before->keys.key(j);
      tie = static_cast<std::uint32_t>(key);
      set->keys.inherit_share(i, before->keys, j);
      // Its weight, or the others', may be another now: what was assigned under the old ones stays
      // counted as it was.
      if (backend.source == CRAB_LOAD_ASSIGNED) {
        backend.clock = QueueKeys::estimate_of(key) - shift_at(now) - before->keys.step(j);
        backend.assigned_base = load.assigned;
      }
    } else {
      backend.clock = now;
      backend.assigned_base = load.assigned;
      backend.source = load.source;
    }
    backend.load_slot = backends[i].load_slot;
    set->count_source(backend.source, 1);
    keys[i] = std::uint64_t{target(*set, backend, i, load, now)} << 32 | tie;
    set->backends_.push_back(backend);
  }
  std::uint32_t least = QueueKeys::estimate_of(keys[0]);
  for (const std::uint64_t key : keys) {
    if (is_before(QueueKeys::estimate_of(key), least)) least = QueueKeys::estimate_of(key);
  }
  set->keys.set_least_estimate(least);
  for (std::size_t i = 0; i < keys.size(); ++i) set->keys.place(i, keys[i]);
  return set;
}

void QueuePolicy::forget(const QueueSet& set) {
  if (in_force_ == &set) in_force_ = nullptr;
}

// Distinct choices by weight: one drawn twice is drawn anew, and when that keeps happening (one
// backend has nearly all the weight) the neighbour in the array takes its place.
std::span<const std::uint32_t> QueuePolicy::sample(const QueueSet& set, unsigned n_choices,
                                                   std::uint64_t random,
                                                   std::span<std::uint32_t> room) const {
  const std::size_t n = set.keys.size();
  const std::size_t n_wanted = std::min<std::size_t>(n_choices, n);
  std::uint64_t n_drawn = 0;
  for (std::size_t k = 0; k < n_wanted; ++k) {
    const auto chosen = room.first(k);
    const auto is_chosen = [&](std::uint32_t i) {
      return std::find(chosen.begin(), chosen.end(), i) != chosen.end();
    };
    std::uint32_t i = set.sample.draw(nth_random(random, n_drawn++));
    for (int attempt = 0; attempt < 4 && is_chosen(i); ++attempt) {
      i = set.sample.draw(nth_random(random, n_drawn++));
    }
    while (is_chosen(i)) i = static_cast<std::uint32_t>((i + 1) % n);
    room[k] = i;
  }
  return room.first(n_wanted);
}

void QueuePolicy::pick(QueueSet& set, std::span<const crab_policy_flow> flows,
                       std::span<std::uint32_t> picks) {
  std::uint64_t sequence = n_claimed_.fetch_add(flows.size(), std::memory_order_relaxed);
  const unsigned n_choices = n_choices_.load(std::memory_order_relaxed);
  const auto random = [flows](std::size_t k) { return flows[k].hash; };
  if (n_choices == 0) return set.keys.claim_least(sequence, random, picks);
  std::array<std::uint32_t, kMaxChoices> room;
  for (std::size_t k = 0; k < picks.size(); ++k, ++sequence) {
    const auto choices = sample(set, n_choices, random(k), room);
    picks[k] = set.keys.claim_least_of(choices, sequence, random(k));
  }
}

std::uint32_t QueuePolicy::explain(const QueueSet& set, const crab_policy_flow& flow,
                                   std::string& why) const {
  const unsigned n_choices = n_choices_.load(std::memory_order_relaxed);
  std::array<std::uint32_t, kMaxChoices> room;
  std::uint32_t i = 0;
  if (n_choices == 0) {
    const LeastKey least = set.keys.least();
    if (least.index != LeastKey::kNone) i = least.index;
  } else {
    i = set.keys.least_of(sample(set, n_choices, flow.hash, room)).index;
  }
  crab_policy_load load{};
  host_.load(host_.context, set.backends_[i].load_slot, &load);
  const std::string n = std::to_string(n_choices == 0 ? set.keys.size() : n_choices);
  why = rule(set);
  if (load.source == CRAB_LOAD_ASSIGNED) {
    why += ": least assigned of " + n + " (it sends no reports)";
  } else {
    why += ": least of " + n + ", with " + std::to_string(load.open) + " open and " +
           std::to_string(load.unconfirmed) + " unconfirmed";
  }
  return i;
}

std::string QueuePolicy::rule(const QueueSet& set) const {
  const unsigned n_choices = n_choices_.load(std::memory_order_relaxed);
  std::string text = n_choices == 0 ? "least loaded" : "least of " + std::to_string(n_choices);
  const bool reported = set.n_event_ + set.n_periodic_ > 0;
  text += !reported ? ", by assignments" : still_rule_ ? ", fresh reports" : ", drain clock";
  text += several_nodes_ ? ", random ties" : ", LRU ties";
  if (herding_) text += ", several nodes";
  return text;
}

}  // namespace crab
