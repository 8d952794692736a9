// SPDX-License-Identifier: Apache-2.0
#include "control/load_view.h"

#include <algorithm>
#include <utility>

namespace crab {
namespace {

constexpr std::chrono::seconds kRegretWindow{1};

}  // namespace

const BackendLoad& LoadView::backend(std::uint32_t load_slot) const {
  static const BackendLoad kUnknown;
  return load_slot < backends.size() ? backends[load_slot] : kUnknown;
}

const ServiceLoad& LoadView::service(const std::string& name) const {
  static const ServiceLoad kUnknown;
  const auto found = services.find(name);
  return found == services.end() ? kUnknown : found->second;
}

std::shared_ptr<const LoadView> LoadFigures::measure(const View& view, LoadTable::Time now) {
  auto loads = std::make_shared<LoadView>();
  for (const auto& [name, service] : view.services) {
    for (const auto& [id, backend] : service->backends) {
      const std::uint32_t slot = *backend.load_slot;
      if (slot >= loads->backends.size()) loads->backends.resize(std::size_t{slot} + 1);
      loads->backends[slot] = {.load = loads_.load(slot),
                               .silent = view.silent.load_slots.contains(slot),
                               .closed_total = loads_.closed_total(slot),
                               .n_written_off = loads_.n_written_off(slot),
                               .report_age = loads_.report_age(slot, now)};
    }
  }
  std::erase_if(histories_,
                [&](const auto& known) { return !view.services.contains(known.first); });
  for (const auto& [name, service] : view.services) {
    loads->services.emplace(name, measure(view, *service, *loads, now));
  }
  return loads;
}

ServiceLoad LoadFigures::measure(const View& view, const ServiceRecord& service,
                                 const LoadView& loads, LoadTable::Time now) {
  ServiceLoad figures;
  const auto has_status = service.policy->ops().status != nullptr;
  if (has_status) figures.rule = dataplane_.policy_rule(*service.id);
  figures.path_suspected = view.silent.suspected_services.contains(service.definition.name);
  for (const auto& [id, backend] : service.backends) {
    const BackendLoad& known = loads.backend(*backend.load_slot);
    const bool reports = known.load.source != CRAB_LOAD_ASSIGNED;
    ++(known.silent ? figures.n_silent : reports ? figures.n_reporting : figures.n_unreported);
    if ((known.silent || reports) && known.report_age) {
      figures.oldest_age = std::max(figures.oldest_age.value_or(*known.report_age),  //
                                    *known.report_age);
    }
    // What is assigned to a backend that reports nothing is confirmed by nothing.
    if (reports) figures.n_unconfirmed += known.load.unconfirmed;
    figures.n_written_off += known.n_written_off;
  }

  std::map<std::uint32_t, Seen> seen;
  for (const auto& [id, backend] : service.backends) {
    if (!view.is_eligible(service, backend)) continue;
    const crab_policy_load& load = loads.backend(*backend.load_slot).load;
    // Loads with and without reports cannot be compared.
    if (figures.n_reporting > 0 && load.source == CRAB_LOAD_ASSIGNED) continue;
    const auto sum = static_cast<double>(load.open) + static_cast<double>(load.unconfirmed);
    seen[*backend.load_slot] = {load.assigned, sum / backend.definition.weight};
  }
  if (seen.empty()) {
    histories_.erase(service.definition.name);
    return figures;
  }
  double sum = 0;
  double least = seen.begin()->second.load;
  double greatest = least;
  for (const auto& [slot, backend] : seen) {
    sum += backend.load;
    least = std::min(least, backend.load);
    greatest = std::max(greatest, backend.load);
  }
  figures.skew = greatest - sum / static_cast<double>(seen.size());
  History& history = histories_[service.definition.name];
  figures.regret = regret(&history, seen, now);
  history.seen = std::move(seen);
  history.least = least;
  return figures;
}

// The choices since the last tick, by the loads at that tick.
double LoadFigures::regret(History* history, const std::map<std::uint32_t, Seen>& seen,
                           LoadTable::Time now) {
  Cost cost{.at = now};
  for (const auto& [slot, before] : history->seen) {
    const auto after = seen.find(slot);
    if (after == seen.end()) continue;
    const std::uint64_t n = after->second.n_assigned - before.n_assigned;
    cost.n_assigned += n;
    cost.sum += static_cast<double>(n) * (before.load - history->least);
  }
  auto& costs = history->costs;
  if (cost.n_assigned > 0) costs.push_back(cost);
  while (!costs.empty() && now - costs.front().at > kRegretWindow) costs.pop_front();
  double sum = 0;
  std::uint64_t n = 0;
  for (const Cost& one : costs) {
    sum += one.sum;
    n += one.n_assigned;
  }
  return n == 0 ? 0 : sum / static_cast<double>(n);
}

}  // namespace crab
