// SPDX-License-Identifier: Apache-2.0
// Cycles per pick of one policy under one kind of company.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "policies/registry.h"

namespace crab::perf {

// Loads as a busy fleet reports them: another few open connections at each look.
class BusyFleet {
 public:
  explicit BusyFleet(std::size_t n_backends);
  const crab_policy_host& host() const { return host_; }
  std::vector<crab_policy_backend> backends() const;
  std::size_t size() const { return ids_.size(); }

 private:
  static void load(void* context, std::uint32_t load_slot, crab_policy_load* load);

  std::vector<std::string> ids_;
  std::vector<std::uint64_t> n_reports_;
  std::uint64_t random_ = 1;
  crab_policy_host host_;
};

enum class Company {
  None,            // one worker alone
  Updates,         // the control thread, on the other CPU, brings one update for each pick
  Worker,          // another worker that picks from the same set
  WorkerUpdating,  // another worker that brings an update after each of its own picks
};
inline constexpr std::array kCompanies = {Company::None, Company::Updates, Company::Worker,
                                          Company::WorkerUpdating};

inline constexpr std::size_t kMaxBatch = 32;

struct Settings {
  std::array<int, 2> cpus;     // the worker that is measured runs on the first
  std::uint64_t round_cycles;  // of the TSC: how long a round lasts
};

// One policy with one list of backends. Without a policy: the loop around pick alone.
class Contestant {
 public:
  Contestant(const crab_policy_ops* policy, std::size_t n_backends);

  const char* name() const { return policy_ == nullptr ? "empty loop" : policy_->name; }
  bool takes(Company company) const;
  double rebuild_ms() const { return rebuild_ms_; }

  struct Result {
    double cycles;       // per pick of the first worker; of both, on average, with Company::Worker
    double updates = 0;  // for each of those picks, with Company::Updates
    double running = 1;  // the share of the round in which all threads ran
  };
  Result run(Company company, std::size_t batch, const Settings& settings);

 private:
  struct Worker {
    std::uint64_t n_picks = 0;
    std::uint64_t cycles = 0;
    std::uint64_t start = 0;  // by the TSC
    double running = 0;       // share of its time that it was let run
  };
  static double together(const std::array<Worker, 2>& workers, std::uint64_t round_cycles);

  template <bool kUpdating>
  void work(std::size_t batch, std::uint64_t round_cycles, Worker* worker);
  std::uint64_t update_beside(Worker* worker);
  void update_next();

  const crab_policy_ops* policy_;
  BusyFleet fleet_;
  PolicySet set_;
  double rebuild_ms_ = 0;
  std::vector<crab_policy_flow> flows_;
  std::uint32_t next_update_ = 0;

  // Written by the measured worker now and then, read by the control thread.
  alignas(64) std::atomic<std::uint64_t> n_picked_{0};
  std::atomic<bool> done_{false};
  // How many threads are at the start.
  alignas(64) std::atomic<int> n_ready_{0};
};

}  // namespace crab::perf
