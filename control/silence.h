// SPDX-License-Identifier: Apache-2.0
// Which backends have stopped reporting their load, and what that says: one of them may have died
// (POLICIES, finding 7); most of them at once have not, and the reports' path is suspected. Control
// strand only.
#pragma once

#include "control/desired_state.h"
#include "control/view.h"
#include "lb/load_table.h"

namespace crab {

class SilenceWatch {
 public:
  explicit SilenceWatch(LoadTable& loads) : loads_(loads) {}

  // Looks at all backends, after all reports that have arrived have been taken. Of a suspected
  // service the silent backends' reports are forgotten: they are balanced by assignments until the
  // next one comes. Returns whether anything has changed; logs what has.
  bool check(const DesiredState::Services& services, LoadTable::Time now);
  // These services have been published: what is no backend of theirs any more is forgotten, so that
  // one that is put back later is new.
  void published(const DesiredState::Services& services);
  // The agent has said goodbye: this is no silence.
  void goodbye(std::uint32_t load_slot) { silent_.load_slots.erase(load_slot); }

  const SilentBackends& silent() const { return silent_; }

 private:
  void follow(const ServiceRecord& service, const std::string& id, const BackendRecord& backend,
              LoadTable::Time now);
  void judge(const ServiceRecord& service);
  LoadTable& loads_;
  SilentBackends silent_;
  std::vector<std::uint32_t> used_;  // slots of the services published last, sorted
};

}  // namespace crab
