// SPDX-License-Identifier: Apache-2.0
#include "control/lease_watch.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <iterator>

namespace crab {

std::map<std::string, LeaseWatch::Count> LeaseWatch::count(const DesiredState& state) {
  std::map<std::string, Count> counts;
  for (const auto& [name, service] : state.services()) {
    Count& count = counts[name];
    for (const auto& [id, backend] : service->backends) {
      const std::string& lease = backend.definition.lease;
      if (lease.empty() || backend.administration.is_leaving()) continue;
      const auto found = state.leases().find(lease);
      if (found == state.leases().end()) continue;
      ++count.n_leased;
      if (found->second.expired || !found->second.until.has_passed(state.clocks())) continue;
      ++count.n_due;
      count.due.insert(lease);
    }
  }
  return counts;
}

std::size_t LeaseWatch::n_recent(const std::string& service, Time now) {
  const auto found = recent_.find(service);
  if (found == recent_.end()) return 0;
  auto& expiries = found->second;
  while (!expiries.empty() && now - expiries.front().first > kExpiryWindow) expiries.pop_front();
  std::size_t n = 0;
  for (const auto& [at, n_backends] : expiries) n += n_backends;
  if (expiries.empty()) recent_.erase(found);
  return n;
}

std::vector<std::string> LeaseWatch::due(const DesiredState& state) {
  std::set<std::string> due;
  for (const auto& [id, lease] : state.leases()) {
    if (!lease.expired && lease.until.has_passed(state.clocks())) due.insert(id);
  }
  if (due.empty() && frozen_.empty()) return {};
  const Time now = state.clocks().steady();
  const auto counts = count(state);
  std::set<std::string> held;
  for (const auto& [name, count] : counts) {
    const std::size_t n_before = n_recent(name, now);
    const std::size_t n_gone = count.n_due + n_before;
    // Those that have run out and were marked are still leased; those that left are not.
    const std::size_t n_all = std::max(count.n_leased + n_before, std::size_t{1});
    const std::uint32_t share = state.services().at(name)->definition.max_expiry_percent;
    const bool too_many = count.n_due > 0 && n_gone >= kMassExpiry && n_gone * 100 > share * n_all;
    if (too_many) {
      held.insert(count.due.begin(), count.due.end());
      if (frozen_.insert(name).second) {
        spdlog::error(
            "service '{}': leases of {} of {} leased backends would run out at once: none does "
            "until keep-alives come or the freeze is released",
            name, count.n_due, count.n_leased);
      }
    } else if (frozen_.erase(name) > 0) {
      spdlog::info("service '{}': leases run out again", name);
    }
  }
  std::erase_if(frozen_, [&](const auto& name) { return !counts.contains(name); });
  std::vector<std::string> expired;
  std::set_difference(due.begin(), due.end(), held.begin(), held.end(),
                      std::back_inserter(expired));
  for (const auto& [name, count] : counts) {
    const auto n = static_cast<std::size_t>(
        std::count_if(count.due.begin(), count.due.end(),
                      [&](const auto& lease) { return !held.contains(lease); }));
    if (n > 0) recent_[name].emplace_back(now, n);
  }
  return expired;
}

std::vector<std::string> LeaseWatch::release(const DesiredState& state,
                                             const std::string& service) {
  const auto counts = count(state);
  const auto found = counts.find(service);
  if (found == counts.end() || frozen_.erase(service) == 0) return {};
  return {found->second.due.begin(), found->second.due.end()};
}

}  // namespace crab
