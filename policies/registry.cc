// SPDX-License-Identifier: Apache-2.0
#include "policies/registry.h"

#include <algorithm>
#include <array>

#include "policies/random.h"
#include "policies/round_robin.h"

namespace crab {
namespace {

constexpr std::size_t kMessageBytes = 256;
using Message = std::array<char, kMessageBytes>;

}  // namespace

std::shared_ptr<PolicyInstance> PolicyInstance::create(const crab_policy_ops& ops,
                                                       const Parameters& parameters) {
  std::vector<crab_policy_kv> kv;
  kv.reserve(parameters.size());
  for (const auto& [key, value] : parameters) kv.push_back({key.c_str(), value.c_str()});
  void* state = nullptr;
  Message message{};
  if (ops.create(kv.data(), kv.size(), &state, message.data(), message.size()) != 0) {
    throw PolicyError(std::string(ops.name) + ": " + message.data());
  }
  return std::shared_ptr<PolicyInstance>(new PolicyInstance(ops, state));
}

PolicyInstance::~PolicyInstance() { ops_.destroy(state_); }

PolicySet PolicyInstance::rebuild(std::span<const crab_policy_backend> backends) {
  void* set = nullptr;
  Message message{};
  if (ops_.rebuild(state_, backends.data(), backends.size(), &set, message.data(),
                   message.size()) != 0) {
    throw PolicyError(std::string(ops_.name) + ": " + message.data());
  }
  return PolicySet(shared_from_this(), set);
}

PolicySet::PolicySet(std::shared_ptr<PolicyInstance> instance, void* set)
    : instance_(std::move(instance)),
      state_(instance_->state_),
      set_(set),
      pick_(instance_->ops_.pick) {}

PolicySet::PolicySet(PolicySet&& other) noexcept { *this = std::move(other); }

PolicySet& PolicySet::operator=(PolicySet&& other) noexcept {
  std::swap(instance_, other.instance_);
  std::swap(state_, other.state_);
  std::swap(set_, other.set_);
  std::swap(pick_, other.pick_);
  return *this;
}

PolicySet::~PolicySet() {
  if (instance_) instance_->ops_.release(state_, set_);
}

std::pair<std::uint32_t, std::string> PolicySet::explain(const crab_policy_flow& flow) const {
  std::uint32_t pick = 0;
  Message why{};
  if (instance_->ops_.explain(state_, set_, &flow, &pick, why.data(), why.size()) != 0) {
    throw PolicyError(std::string(instance_->name()) + ": explain failed");
  }
  return {pick, why.data()};
}

std::span<const crab_policy_ops* const> built_in_policies() {
  static const std::array kPolicies = {&kRoundRobinPolicy, &kRandomPolicy};
  return kPolicies;
}

const crab_policy_ops* find_policy(std::string_view name) {
  const auto policies = built_in_policies();
  const auto found = std::find_if(policies.begin(), policies.end(),
                                  [&](const auto* ops) { return ops->name == name; });
  return found == policies.end() ? nullptr : *found;
}

}  // namespace crab
