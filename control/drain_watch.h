// SPDX-License-Identifier: Apache-2.0
// When drains end: with the last connection, as far as the backend's agent tells, or at their
// deadline. Control strand only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/desired_state.h"
#include "control/view.h"
#include "lb/load_table.h"

namespace crab {

class DrainWatch {
 public:
  DrainWatch(const LoadTable& loads, const Clocks& clocks) : loads_(loads), clocks_(clocks) {}

  // This has been published. `in_force`: every worker uses it, so that no backend that drains by it
  // is given a connection from now on.
  void published(const View& view, bool in_force, LoadTable::Time now);

  struct Step {
    std::string service;
    std::string id;
    DrainedBy by = DrainedBy::Nothing;  // nothing: it has been drained long enough, and is to go
    std::string reason;
  };
  // What is due now.
  std::vector<Step> due(LoadTable::Time now) const;

 private:
  struct Watched {
    std::uint32_t load_slot = 0;
    bool counts_connections = true;  // the load signal does
    bool draining = true;            // or drained
    bool in_force = false;
    LoadTable::Time since{};  // it is in force
    Deadline until;
  };
  bool is_empty(const Watched& watched, LoadTable::Time now) const;

  const LoadTable& loads_;
  const Clocks clocks_;
  std::map<std::pair<std::string, std::string>, Watched> watched_;  // by service and id
};

}  // namespace crab
