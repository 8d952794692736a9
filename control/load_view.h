// SPDX-License-Identifier: Apache-2.0
// What the node knows of its backends' load, as everybody but the strand sees it: an immutable
// value, made at each tick; and how it is made. docs/operations.md has the formulae.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/view.h"
#include "lb/load_table.h"

namespace crab {

struct BackendLoad {
  crab_policy_load load{};
  bool silent = false;
  std::uint64_t closed_total = 0;
  std::uint64_t n_written_off = 0;
  std::optional<LoadTable::Time> report_age;
};

struct ServiceLoad {
  std::string rule;  // of the policy, in force
  std::uint32_t n_reporting = 0;
  std::uint32_t n_silent = 0;
  std::uint32_t n_unreported = 0;
  bool path_suspected = false;
  std::optional<LoadTable::Time> oldest_age;  // of the reporting and the silent backends
  std::uint64_t n_unconfirmed = 0;
  std::uint64_t n_written_off = 0;
  double skew = 0;
  double regret = 0;
};

struct LoadView {
  std::vector<BackendLoad> backends;  // by load slot
  std::map<std::string, ServiceLoad> services;

  const BackendLoad& backend(std::uint32_t load_slot) const;
  const ServiceLoad& service(const std::string& name) const;
};

// Makes them. Control strand only.
class LoadFigures {
 public:
  LoadFigures(const LoadTable& loads, const Dataplane& dataplane)
      : loads_(loads), dataplane_(dataplane) {}

  // view is what is in force.
  std::shared_ptr<const LoadView> measure(const View& view, LoadTable::Time now);

 private:
  // A backend as the choices of the next tick see it.
  struct Seen {
    std::uint64_t n_assigned = 0;
    double load = 0;  // per weight
  };
  struct Cost {
    LoadTable::Time at{};
    double sum = 0;
    std::uint64_t n_assigned = 0;
  };
  struct History {
    std::map<std::uint32_t, Seen> seen;  // by slot: the backends that skew and regret are about
    double least = 0;
    std::deque<Cost> costs;  // of the last second's ticks
  };

  ServiceLoad measure(const View& view, const ServiceRecord& service, const LoadView& loads,
                      LoadTable::Time now);
  static double regret(History* history, const std::map<std::uint32_t, Seen>& seen,
                       LoadTable::Time now);

  const LoadTable& loads_;
  const Dataplane& dataplane_;
  std::map<std::string, History> histories_;
};

}  // namespace crab
