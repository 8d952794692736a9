// SPDX-License-Identifier: Apache-2.0
#include "control/drain_watch.h"

#include <fmt/format.h>

namespace crab {

void DrainWatch::published(const View& view, bool in_force, LoadTable::Time now) {
  std::map<std::pair<std::string, std::string>, Watched> next;
  for (const auto& [name, service] : view.services) {
    for (const auto& [id, backend] : service->backends) {
      const Administration& is = backend.administration;
      const bool draining = is.state == Admin::Draining;
      if (!draining && !(is.state == Admin::Drained && is.removes)) continue;
      Watched watched{.load_slot = *backend.load_slot,
                      .counts_connections = !service->definition.orca,
                      .draining = draining,
                      .in_force = in_force,
                      .since = now,
                      .until = is.until};
      const auto before = watched_.find({name, id});
      // In force once, a drain is: later snapshots have it too.
      if (before != watched_.end() && before->second.in_force &&
          before->second.draining == draining && before->second.load_slot == watched.load_slot) {
        watched.in_force = true;
        watched.since = before->second.since;
      }
      next.emplace_hint(next.end(), std::pair(name, id), std::move(watched));
    }
  }
  watched_ = std::move(next);
}

// Told by a report that was made after the last connection can have been given, and with none on
// its way to the backend.
bool DrainWatch::is_empty(const Watched& watched, LoadTable::Time now) const {
  if (!watched.in_force || !watched.counts_connections) return false;
  const std::uint32_t slot = watched.load_slot;
  if (!loads_.reports(slot) || loads_.is_silent(slot, now)) return false;
  const auto age = loads_.report_age(slot, now);
  if (!age || now - *age <= watched.since) return false;
  const crab_policy_load load = loads_.load(slot);
  return load.open == 0 && load.unconfirmed == 0;
}

std::vector<DrainWatch::Step> DrainWatch::due(LoadTable::Time now) const {
  std::vector<Step> steps;
  for (const auto& [key, watched] : watched_) {
    Step step{.service = key.first, .id = key.second, .by = DrainedBy::Nothing, .reason = {}};
    if (!watched.draining) {
      if (watched.until.has_passed(clocks_)) steps.push_back(std::move(step));
      continue;
    }
    if (is_empty(watched, now)) {
      step.by = DrainedBy::ZeroConnections;
      step.reason = "no connection is open: safe to terminate";
      steps.push_back(std::move(step));
      continue;
    }
    if (!watched.until.has_passed(clocks_)) continue;
    step.by = DrainedBy::Deadline;
    const std::uint32_t slot = watched.load_slot;
    if (watched.counts_connections && loads_.reports(slot) && !loads_.is_silent(slot, now)) {
      const crab_policy_load load = loads_.load(slot);
      step.reason = fmt::format("deadline reached with {} connections open and {} on their way",
                                load.open, load.unconfirmed);
    } else {
      step.reason = "deadline reached; open connections are not known, none is reported";
    }
    steps.push_back(std::move(step));
  }
  return steps;
}

}  // namespace crab
