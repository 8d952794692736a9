// SPDX-License-Identifier: Apache-2.0
#include "control/slow_start.h"

#include <algorithm>

namespace crab {

Ramps SlowStart::follow(const View& view, Time now) {
  Ramps ramps;
  next_step_.reset();
  std::erase_if(services_, [&](const auto& known) {
    const ServiceRecord* service = view.find(known.first);
    return service == nullptr || service->definition.ramp.count() == 0;
  });
  for (const auto& [name, service] : view.services) {
    if (service->definition.ramp.count() == 0) continue;
    auto tenths = follow(view, *service, &services_[name], now);
    if (!tenths.empty()) ramps.emplace(name, std::move(tenths));
  }
  return ramps;
}

std::map<std::uint32_t, std::uint32_t> SlowStart::follow(const View& view,
                                                         const ServiceRecord& service,
                                                         Starts* starts, Time now) {
  const Time ramp = service.definition.ramp;
  const Time step = ramp / kRampSteps;
  for (auto& [slot, start] : *starts) start.seen = false;
  const bool anybody_past = std::any_of(starts->begin(), starts->end(), [&](const auto& known) {
    return now - known.second.at >= ramp;
  });
  std::map<std::uint32_t, std::uint32_t> tenths;
  for (const auto& [id, backend] : service.backends) {
    if (!view.is_eligible(service, backend)) continue;
    const std::uint32_t slot = *backend.load_slot;
    Start& start = starts->try_emplace(slot, Start{.at = now, .ramps = anybody_past}).first->second;
    start.seen = true;
    const auto n_steps = static_cast<std::uint32_t>((now - start.at) / step) + 1;
    if (!start.ramps || n_steps >= kRampSteps) continue;
    tenths[slot] = n_steps;
    const Time next = start.at + n_steps * step;
    next_step_ = std::min(next_step_.value_or(next), next);
  }
  std::erase_if(*starts, [](const auto& known) { return !known.second.seen; });
  return tenths;
}

}  // namespace crab
