// SPDX-License-Identifier: Apache-2.0
#include "control/silence.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

namespace crab {

bool SilenceWatch::check(const DesiredState::Services& services, LoadTable::Time now) {
  const SilentBackends before = silent_;
  for (const auto& [name, service] : services) {
    for (const auto& [id, backend] : service->backends) follow(*service, id, backend, now);
  }
  for (const auto& [name, service] : services) judge(*service);
  return silent_ != before;
}

void SilenceWatch::published(const DesiredState::Services& services) {
  std::vector<std::uint32_t> used;
  used.reserve(used_.size());
  for (const auto& [name, service] : services) {
    for (const auto& [id, backend] : service->backends) used.push_back(*backend.load_slot);
  }
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  std::vector<std::uint32_t> gone;
  std::set_difference(used_.begin(), used_.end(), used.begin(), used.end(),
                      std::back_inserter(gone));
  for (const std::uint32_t slot : gone) {
    loads_.forget_reports(slot);
    silent_.load_slots.erase(slot);
  }
  std::erase_if(silent_.suspected_services,
                [&](const auto& name) { return !services.contains(name); });
  used_ = std::move(used);
}

void SilenceWatch::follow(const ServiceRecord& service, const std::string& id,
                          const BackendRecord& backend, LoadTable::Time now) {
  const std::uint32_t slot = *backend.load_slot;
  const bool was_silent = silent_.load_slots.contains(slot);
  const bool is_silent = loads_.is_silent(slot, now);
  if (!was_silent && is_silent) {
    silent_.load_slots.insert(slot);
    spdlog::warn("service '{}': backend '{}' has stopped reporting its load",
                 service.definition.name, id);
  } else if (was_silent && !is_silent && loads_.reports(slot)) {
    silent_.load_slots.erase(slot);
    spdlog::info("service '{}': backend '{}' reports its load again", service.definition.name, id);
  }
}

void SilenceWatch::judge(const ServiceRecord& service) {
  std::size_t n_silent = 0;
  std::size_t n_reporting = 0;
  for (const auto& [id, backend] : service.backends) {
    // Who has been taken out may fall silent: its host is switched off.
    if (backend.administration.takes_no_connections()) continue;
    const bool silent = silent_.load_slots.contains(*backend.load_slot);
    n_silent += silent;
    n_reporting += !silent && loads_.reports(*backend.load_slot);
  }
  const std::string& name = service.definition.name;
  const bool was_suspected = silent_.suspected_services.contains(name);
  if (n_silent <= n_reporting) {
    if (!was_suspected) return;
    silent_.suspected_services.erase(name);
    spdlog::info("service '{}': load reports come again: {} backends report, {} are silent", name,
                 n_reporting, n_silent);
    return;
  }
  if (silent_.suspected_services.insert(name).second) {
    spdlog::error(
        "service '{}': {} of {} backends have stopped reporting their load: the reports' path is "
        "suspected, and all are balanced to",
        name, n_silent, n_silent + n_reporting);
  }
  for (const auto& [id, backend] : service.backends) {
    if (silent_.load_slots.contains(*backend.load_slot)) loads_.forget_reports(*backend.load_slot);
  }
}

}  // namespace crab
