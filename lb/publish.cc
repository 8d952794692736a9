// SPDX-License-Identifier: Apache-2.0
#include "lb/publish.h"

#include <rte_errno.h>
#include <rte_malloc.h>
#include <rte_rcu_qsbr.h>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace crab {

Publisher::Publisher(unsigned n_workers) : n_workers_(n_workers) {
  const std::size_t bytes = rte_rcu_qsbr_get_memsize(n_workers);
  qsbr_ = static_cast<rte_rcu_qsbr*>(rte_zmalloc("crab_qsbr", bytes, RTE_CACHE_LINE_SIZE));
  if (qsbr_ == nullptr || rte_rcu_qsbr_init(qsbr_, n_workers) != 0) {
    rte_free(qsbr_);
    throw std::runtime_error("no DPDK memory for the quiescent states of " +
                             std::to_string(n_workers) + " workers");
  }
  for (unsigned worker = 0; worker < n_workers; ++worker) {
    rte_rcu_qsbr_thread_register(qsbr_, worker);
  }
}

// Precondition, which stopping in the right order gives: no worker is online.
Publisher::~Publisher() {
  delete current_.load(std::memory_order_acquire);
  retired_.clear();
  rte_free(qsbr_);
}

void Publisher::online(unsigned worker) { rte_rcu_qsbr_thread_online(qsbr_, worker); }
void Publisher::offline(unsigned worker) { rte_rcu_qsbr_thread_offline(qsbr_, worker); }
void Publisher::quiescent(unsigned worker) { rte_rcu_qsbr_quiescent(qsbr_, worker); }

PublishOutcome Publisher::publish(std::unique_ptr<const Snapshot> next,
                                  std::chrono::milliseconds bound) {
  // Room first: once the pointer is swapped, nothing here may throw.
  retired_.reserve(retired_.size() + 1);
  std::unique_ptr<const Snapshot> old(current_.exchange(next.release(), std::memory_order_acq_rel));
  const std::uint64_t token = rte_rcu_qsbr_start(qsbr_);
  retired_.push_back({token, std::move(old)});
  if (after_swap_ != nullptr) after_swap_(after_swap_argument_);

  PublishOutcome outcome;
  const auto deadline = std::chrono::steady_clock::now() + bound;
  // Not rte_rcu_qsbr_check's own waiting: it spins, and has no bound.
  while (rte_rcu_qsbr_check(qsbr_, token, false) != 1) {
    if (std::chrono::steady_clock::now() >= deadline) {
      outcome.stuck_workers = stuck(token);
      break;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(20));
  }
  // A worker may have moved on between the last check and the list: then nobody is stuck.
  outcome.applied = outcome.stuck_workers.empty();
  reclaim();
  return outcome;
}

void Publisher::set_after_swap_for_test(void (*hook)(void*), void* argument) {
  after_swap_ = hook;
  after_swap_argument_ = argument;
}

void Publisher::reclaim() {
  std::erase_if(retired_, [this](const Retired& retired) {
    return rte_rcu_qsbr_check(qsbr_, retired.token, false) == 1;
  });
}

std::vector<unsigned> Publisher::stuck(std::uint64_t token) const {
  std::vector<unsigned> workers;
  for (unsigned worker = 0; worker < n_workers_; ++worker) {
    const std::uint64_t seen = __atomic_load_n(&qsbr_->qsbr_cnt[worker].cnt, __ATOMIC_ACQUIRE);
    if (seen != __RTE_QSBR_CNT_THR_OFFLINE && seen < token) workers.push_back(worker);
  }
  return workers;
}

}  // namespace crab
