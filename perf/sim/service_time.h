// SPDX-License-Identifier: Apache-2.0
// How long a request takes on a server of speed 1 that does nothing else.
#pragma once

#include <optional>
#include <string_view>

#include "perf/sim/random_stream.h"

namespace crab::sim {

enum class ServiceKind {
  Deterministic,
  Exponential,
  Bimodal,    // half the mean in 90% of all cases, 5.5 times the mean in 10%
  Pareto,     // bounded, shape 1.5, the longest 1,000 times the shortest
  Lognormal,  // the logarithm's deviation is 1
};

std::optional<ServiceKind> parse_service_kind(std::string_view name);
std::string_view name_of(ServiceKind kind);

// In units of the mean.
double draw_service(ServiceKind kind, RandomStream& random);

}  // namespace crab::sim
