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

  // Throws PolicyError, naming the parameter.
  static std::shared_ptr<PolicyInstance> create(const crab_policy_ops& ops,
                                                const Parameters& parameters);
  ~PolicyInstance();
  PolicyInstance(const PolicyInstance&) = delete;
  PolicyInstance& operator=(const PolicyInstance&) = delete;

  std::string_view name() const { return ops_.name; }
  // Throws PolicyError. Precondition: backends is not empty.
  PolicySet rebuild(std::span<const crab_policy_backend> backends);

 private:
  friend class PolicySet;
  PolicyInstance(const crab_policy_ops& ops, void* state) : ops_(ops), state_(state) {}

  const crab_policy_ops& ops_;
  void* state_;
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
  // Which backend this flow would get now, and why; changes nothing.
  std::pair<std::uint32_t, std::string> explain(const crab_policy_flow& flow) const;

 private:
  friend class PolicyInstance;
  PolicySet(std::shared_ptr<PolicyInstance> instance, void* set);

  std::shared_ptr<PolicyInstance> instance_;
  void* state_ = nullptr;
  void* set_ = nullptr;
  decltype(crab_policy_ops::pick) pick_ = nullptr;
};

// Built-in policies, in the order `crabctl policy list` shows them.
std::span<const crab_policy_ops* const> built_in_policies();

// nullptr if there is none of that name.
const crab_policy_ops* find_policy(std::string_view name);

}  // namespace crab
