// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/service_time.h"

#include <array>
#include <cmath>
#include <utility>

namespace crab::sim {
namespace {

constexpr std::array<std::pair<ServiceKind, std::string_view>, 5> kNames = {{
    {ServiceKind::Deterministic, "deterministic"},
    {ServiceKind::Exponential, "exponential"},
    {ServiceKind::Bimodal, "bimodal"},
    {ServiceKind::Pareto, "pareto"},
    {ServiceKind::Lognormal, "lognormal"},
}};

// The inverse of the bounded Pareto distribution function, scaled to the mean 1.
double draw_pareto(RandomStream& random) {
  constexpr double kShape = 1.5;
  constexpr double kRange = 1000;
  static const double kTail = 1 - std::pow(kRange, -kShape);
  static const double kShortest =
      (kShape - 1) / kShape * kTail / (1 - std::pow(kRange, 1 - kShape));
  return kShortest * std::pow(1 - random.uniform() * kTail, -1 / kShape);
}

}  // namespace

std::optional<ServiceKind> parse_service_kind(std::string_view name) {
  for (const auto& [kind, text] : kNames) {
    if (text == name) return kind;
  }
  return std::nullopt;
}

std::string_view name_of(ServiceKind kind) {
  for (const auto& [other, text] : kNames) {
    if (other == kind) return text;
  }
  return "?";
}

double draw_service(ServiceKind kind, RandomStream& random) {
  switch (kind) {
    case ServiceKind::Deterministic:
      return 1;
    case ServiceKind::Exponential:
      return random.exponential(1);
    case ServiceKind::Bimodal:
      return random.uniform() <= 0.9 ? 0.5 : 5.5;
    case ServiceKind::Pareto:
      return draw_pareto(random);
    case ServiceKind::Lognormal:
      return std::exp(random.normal() - 0.5);
  }
  return 1;
}

}  // namespace crab::sim
