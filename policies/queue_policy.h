// SPDX-License-Identifier: Apache-2.0
// What join_shortest_queue and power_of_two share: an instance that counts connections and knows
// the rule in force, and sets whose keys follow the reports. All formulae are in
// queue_policy.cc; queue_keys.h has what workers touch.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "policies/alias_table.h"
#include "policies/policy.h"
#include "policies/queue_keys.h"

namespace crab {

class QueuePolicy;

// One list of backends. The control thread's part lies beside the workers' keys.
class QueueSet {
 public:
  QueueKeys keys;
  AliasTable sample;  // by weight, for rules that look at a few backends only

 private:
  friend class QueuePolicy;
  QueueSet(std::span<const std::uint32_t> weights, const QueueKeys::ShareCap& cap,
           std::uint64_t n_claimed)
      : keys(weights, cap, n_claimed), sample(weights) {}

  struct Backend {
    std::uint32_t load_slot = 0;
    std::uint32_t source = CRAB_LOAD_ASSIGNED;
    std::uint64_t n_reports = 0;
    // The drain clock when its load was last known: POLICIES.md calls it V_i.
    std::uint32_t clock = 0;
    // Without reports: what it had been assigned when that began.
    std::uint64_t assigned_base = 0;
    std::uint64_t accepted_own = 0;
    std::uint64_t accepted_total = 0;
  };
  void count_source(std::uint32_t source, int change) {
    if (source == CRAB_LOAD_EVENT) n_event_ += static_cast<std::size_t>(change);
    if (source == CRAB_LOAD_PERIODIC) n_periodic_ += static_cast<std::size_t>(change);
  }

  std::vector<Backend> backends_;
  std::size_t n_event_ = 0;  // backends of that source
  std::size_t n_periodic_ = 0;
};

class QueuePolicy {
 public:
  static constexpr unsigned kMaxChoices = 16;

  struct Parameters {
    double max_share = 2.0;  // 0: off
    std::uint32_t share_window = 10;
    unsigned n_choices = 0;  // 0: all of them
  };
  // A test starts the counters close to their wrap.
  QueuePolicy(const crab_policy_host& host, const Parameters& parameters,
              std::uint64_t n_claimed = 0, std::uint32_t clock = 0);

  std::unique_ptr<QueueSet> rebuild(std::span<const crab_policy_backend> backends);
  void update(QueueSet& set, std::span<const std::uint32_t> indices, std::uint64_t now_ns);
  void forget(const QueueSet& set);
  std::string rule(const QueueSet& set) const;

  // Any worker.
  void pick(QueueSet& set, std::span<const crab_policy_flow> flows, std::span<std::uint32_t> picks);

  // What pick would answer for this flow, and why.
  std::uint32_t explain(const QueueSet& set, const crab_policy_flow& flow, std::string& why) const;

 private:
  // POLICIES.md, finding 6: with several nodes, when one look at all would have them herd.
  static constexpr unsigned kChoicesWhenHerding = 4;

  std::uint32_t clock_now() const;
  std::uint32_t shift_at(std::uint32_t clock) const;
  std::uint32_t target(const QueueSet& set, const QueueSet::Backend& backend, std::size_t i,
                       const crab_policy_load& load, std::uint32_t now) const;
  void settle(QueueSet& set, std::size_t i);
  void observe(QueueSet::Backend& backend, const crab_policy_load& load);
  void learn_nodes(QueueSet& set);
  void measure_age(const QueueSet& set);
  void follow_rule(QueueSet& set);
  bool stands_still(std::uint32_t source) const;
  std::size_t n_still(const QueueSet& set) const;
  void advance_clock(const QueueSet& set);
  std::span<const std::uint32_t> sample(const QueueSet& set, unsigned n_choices,
                                        std::uint64_t random, std::span<std::uint32_t> room) const;

  const crab_policy_host host_;
  const Parameters parameters_;

  // Claimed by every worker with one fetch_add per batch: numbers the connections, and drives the
  // drain clock.
  alignas(64) std::atomic<std::uint64_t> n_claimed_;
  // Written by the control thread, read by workers: how many backends to look at, 0 for all.
  std::atomic<unsigned> n_choices_;

  // Control thread only.
  alignas(64) const QueueSet* in_force_ = nullptr;  // the set of the last update
  // The drain clock at one moment, and how fast it has gone since: V grows by 1/n with each
  // connection, n being the number of backends (in units of the mean weight).
  std::uint64_t clock_at_ = 0;  // n_claimed_ then
  std::uint32_t clock_;
  std::uint32_t clock_remainder_ = 0;
  std::size_t clock_backends_ = 1;
  // Where most backends' reports are fresh, those stand still, and the others drain against them
  // instead: V_i + shift, where the shift falls as the clock advances.
  bool still_rule_ = false;
  std::uint32_t shift_ = 0;
  std::uint32_t still_base_ = 0;  // clock + shift, constant under the still rule
  // Periodic reports come more often than connections: hardly anything has drained in between.
  bool periodic_is_fresh_ = false;
  std::uint64_t n_periodic_reports_ = 0;  // since measured_at_
  std::uint64_t measured_at_ = 0;         // n_claimed_ then
  std::uint64_t settled_others_ns_ = 0;
  // Other nodes: what they had accepted, and ours, over the last reports.
  bool several_nodes_ = false;
  bool herding_ = false;
  std::uint64_t n_own_ = 0;
  std::uint64_t n_total_ = 0;
  std::uint64_t n_unseen_ = 0;  // others' connections that no report had told of before
  std::uint64_t n_observed_ = 0;
};

}  // namespace crab
