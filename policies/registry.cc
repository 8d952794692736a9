// SPDX-License-Identifier: Apache-2.0
#include "policies/registry.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "policies/join_shortest_queue.h"
#include "policies/maglev.h"
#include "policies/power_of_two.h"
#include "policies/random.h"
#include "policies/round_robin.h"
#include "policies/weighted_round_robin.h"

namespace crab {
namespace {

constexpr std::size_t kMessageBytes = 256;
using Message = std::array<char, kMessageBytes>;

struct Registry {
  std::vector<KnownPolicy> known;
  std::vector<RefusedPlugin> refused;
};

// Grows only before other threads start.
Registry& registry() {
  static Registry all = [] {
    Registry initial;
    for (const auto* ops : built_in_policies()) initial.known.push_back({ops, ""});
    return initial;
  }();
  return all;
}

}  // namespace

std::shared_ptr<PolicyInstance> PolicyInstance::create(const crab_policy_ops& ops,
                                                       const Parameters& parameters,
                                                       const crab_policy_host& host) {
  std::vector<crab_policy_kv> kv;
  kv.reserve(parameters.size());
  for (const auto& [key, value] : parameters) kv.push_back({key.c_str(), value.c_str()});
  std::shared_ptr<PolicyInstance> instance(new PolicyInstance(ops, host));
  Message message{};
  if (ops.create(&instance->host_, kv.data(), kv.size(), &instance->state_, message.data(),
                 message.size()) != 0) {
    instance->state_ = nullptr;
    throw PolicyError(std::string(ops.name) + ": " + message.data());
  }
  return instance;
}

const crab_policy_host& PolicyInstance::no_reports() {
  static constexpr crab_policy_host kHost = {
      .struct_size = sizeof(crab_policy_host),
      .zero = 0,
      .context = nullptr,
      .load = [](void*, std::uint32_t, crab_policy_load* load) { *load = {}; },
  };
  return kHost;
}

PolicyInstance::~PolicyInstance() {
  if (state_ != nullptr) ops_.destroy(state_);
}

PolicySet PolicyInstance::rebuild(std::span<const crab_policy_backend> backends) {
  void* set = nullptr;
  Message message{};
  if (ops_.rebuild(state_, backends.data(), backends.size(), &set, message.data(),
                   message.size()) != 0) {
    throw PolicyError(std::string(ops_.name) + ": " + message.data());
  }
  return PolicySet(shared_from_this(), set, backends.size());
}

PolicySet::PolicySet(std::shared_ptr<PolicyInstance> instance, void* set, std::size_t n_backends)
    : instance_(std::move(instance)),
      state_(instance_->state_),
      set_(set),
      pick_(instance_->ops_.pick),
      n_backends_(n_backends),
      needs_tuple_hash_((instance_->ops_.flags & CRAB_POLICY_NEEDS_TUPLE_HASH) != 0) {}

PolicySet::PolicySet(PolicySet&& other) noexcept { *this = std::move(other); }

PolicySet& PolicySet::operator=(PolicySet&& other) noexcept {
  std::swap(instance_, other.instance_);
  std::swap(state_, other.state_);
  std::swap(set_, other.set_);
  std::swap(pick_, other.pick_);
  std::swap(n_backends_, other.n_backends_);
  std::swap(needs_tuple_hash_, other.needs_tuple_hash_);
  return *this;
}

PolicySet::~PolicySet() {
  if (instance_) instance_->ops_.release(state_, set_);
}

void PolicySet::update(std::span<const std::uint32_t> indices, std::uint64_t now_ns) const {
  if (instance_->ops_.update == nullptr) return;
  instance_->ops_.update(state_, set_, indices.data(), indices.size(), now_ns);
}

void PolicySet::update_all(std::uint64_t now_ns) const {
  std::array<std::uint32_t, 64> indices;
  for (std::size_t first = 0; first < n_backends_; first += indices.size()) {
    const std::size_t n = std::min(indices.size(), n_backends_ - first);
    std::iota(indices.begin(), indices.begin() + static_cast<std::ptrdiff_t>(n),
              static_cast<std::uint32_t>(first));
    update({indices.data(), n}, now_ns);
  }
}

std::string PolicySet::rule() const {
  Message rule{};
  if (instance_ && instance_->ops_.status != nullptr) {
    instance_->ops_.status(state_, set_, rule.data(), rule.size());
  }
  return rule.data();
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
  static constexpr std::array kPolicies = {
      &kRoundRobinPolicy,        &kWeightedRoundRobinPolicy, &kRandomPolicy,
      &kJoinShortestQueuePolicy, &kPowerOfTwoPolicy,         &kMaglevPolicy,
  };
  return kPolicies;
}

std::span<const KnownPolicy> known_policies() { return registry().known; }

std::span<const RefusedPlugin> refused_plugins() { return registry().refused; }

const crab_policy_ops* find_policy(std::string_view name) {
  const auto& known = registry().known;
  const auto found = std::find_if(known.begin(), known.end(),
                                  [&](const auto& policy) { return policy.ops->name == name; });
  return found == known.end() ? nullptr : found->ops;
}

void add_policy(KnownPolicy policy) { registry().known.push_back(std::move(policy)); }

void add_refused_plugin(RefusedPlugin plugin) {
  if (!is_known_plugin(plugin.path)) registry().refused.push_back(std::move(plugin));
}

bool is_known_plugin(std::string_view path) {
  const auto is_it = [&](const auto& plugin) { return plugin.path == path; };
  const auto& [known, refused] = registry();
  return std::any_of(known.begin(), known.end(), is_it) ||
         std::any_of(refused.begin(), refused.end(), is_it);
}

}  // namespace crab
