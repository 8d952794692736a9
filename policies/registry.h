// SPDX-License-Identifier: Apache-2.0
// The policies this process knows, and RAII over the C ABI of policy.h. Control thread only,
// except PolicySet::pick.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "policies/policy.h"

namespace crab {

// A policy refused its parameters or its backends; what() is for the operator.
class PolicyError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

class PolicySet;

// One service's instance of a policy: the state that all workers share. Sets keep it alive.
class PolicyInstance : public std::enable_shared_from_this<PolicyInstance> {
 public:
  using Parameters = std::vector<std::pair<std::string, std::string>>;

  // Throws PolicyError, naming the parameter. The host is copied; what it points to outlives the
  // instance.
  static std::shared_ptr<PolicyInstance> create(const crab_policy_ops& ops,
                                                const Parameters& parameters,
                                                const crab_policy_host& host = no_reports());
  // A host that knows of no load, for tests and benchmarks of policies that use none.
  static const crab_policy_host& no_reports();
  ~PolicyInstance();
  PolicyInstance(const PolicyInstance&) = delete;
  PolicyInstance& operator=(const PolicyInstance&) = delete;

  std::string_view name() const { return ops_.name; }
  const crab_policy_ops& ops() const { return ops_; }
  // Throws PolicyError. Precondition: backends is not empty.
  PolicySet rebuild(std::span<const crab_policy_backend> backends);

 private:
  friend class PolicySet;
  PolicyInstance(const crab_policy_ops& ops, const crab_policy_host& host)
      : ops_(ops), host_(host) {}

  const crab_policy_ops& ops_;
  const crab_policy_host host_;
  void* state_ = nullptr;
};

// What an instance derived from one list of backends; immutable, part of a snapshot.
class PolicySet {
 public:
  PolicySet() = default;  // of no backends: pick must not be called
  PolicySet(PolicySet&& other) noexcept;
  PolicySet& operator=(PolicySet&& other) noexcept;
  ~PolicySet();

  explicit operator bool() const { return instance_ != nullptr; }

  // Any worker. Precondition: *this is not empty, picks.size() == flows.size() >= 1.
  void pick(std::span<const crab_policy_flow> flows, std::span<std::uint32_t> picks) const {
    pick_(state_, set_, flows.data(), picks.data(), flows.size());
  }
  // Control thread, for the set in force: the loads of these backends may have changed.
  void update(std::span<const std::uint32_t> indices, std::uint64_t now_ns) const;
  void update_all(std::uint64_t now_ns) const;
  bool uses_load() const { return instance_ && (instance_->ops_.flags & CRAB_POLICY_USES_LOAD); }
  bool needs_tuple_hash() const { return needs_tuple_hash_; }
  // The rule in force; empty if the policy has but one.
  std::string rule() const;
  // Which backend this flow would get now, and why; changes nothing.
  std::pair<std::uint32_t, std::string> explain(const crab_policy_flow& flow) const;

 private:
  friend class PolicyInstance;
  PolicySet(std::shared_ptr<PolicyInstance> instance, void* set, std::size_t n_backends);

  std::shared_ptr<PolicyInstance> instance_;
  void* state_ = nullptr;
  void* set_ = nullptr;
  decltype(crab_policy_ops::pick) pick_ = nullptr;
  std::size_t n_backends_ = 0;
  bool needs_tuple_hash_ = false;
};

// Built-in policies, in the order `crabctl policy list` shows them.
std::span<const crab_policy_ops* const> built_in_policies();

// A policy that services may name.
struct KnownPolicy {
  const crab_policy_ops* ops;
  std::string path;  // of the plugin; empty: built in
};
// A plugin that is not used, as policies/plugin_loader.h found it.
struct RefusedPlugin {
  std::string path;
  std::string name;    // of its policy, or of its file if it does not say; empty for a directory
  std::string reason;  // follows the path: "is built for ..."
};

// The built-in policies, then the plugins in the order in which they were added.
std::span<const KnownPolicy> known_policies();
std::span<const RefusedPlugin> refused_plugins();
// nullptr if there is none of that name.
const crab_policy_ops* find_policy(std::string_view name);

// For the plugin loader, before other threads start. The name is not taken; what is refused twice
// is kept once.
void add_policy(KnownPolicy policy);
void add_refused_plugin(RefusedPlugin plugin);
// Has this file been added already, either way?
bool is_known_plugin(std::string_view path);

}  // namespace crab
