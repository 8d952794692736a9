// SPDX-License-Identifier: Apache-2.0
// The ramps of slow starts (Service.slow_start): a backend that becomes eligible, for the first
// time or again, takes up its weight in ten steps. Without others that are past theirs there is
// nobody to leave the work to, and it starts with its whole weight. Control strand only.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "control/view.h"

namespace crab {

class SlowStart {
 public:
  using Time = std::chrono::nanoseconds;  // of any steady clock

  // Follows who is eligible in the view, whose ramps are not looked at, and returns those in force
  // now. Services without a ramping backend are not in it.
  Ramps follow(const View& view, Time now);
  // Whether a backend has reached its next step since.
  bool is_due(Time now) const { return next_step_ && now >= *next_step_; }

 private:
  struct Start {
    Time at{};
    bool ramps = false;
    bool seen = true;  // in this round of follow()
  };
  using Starts = std::map<std::uint32_t, Start>;  // by load slot: the eligible backends
  std::map<std::uint32_t, std::uint32_t> follow(const View& view, const ServiceRecord& service,
                                                Starts* starts, Time now);

  std::map<std::string, Starts> services_;
  std::optional<Time> next_step_;
};

}  // namespace crab
