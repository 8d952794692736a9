// SPDX-License-Identifier: Apache-2.0
// The C ABI of policies that are a QueuePolicy with parameters of their own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <new>
#include <span>
#include <string>

#include "policies/parameters.h"
#include "policies/queue_policy.h"
#include "policies/registry.h"

namespace crab {

// Reads the parameters that all of them have.
inline void read_share_cap(PolicyParameters& given, QueuePolicy::Parameters* parameters) {
  given.real_or_zero("max_share", 1, 1000, &parameters->max_share);
  given.whole("share_window", 1, 1000, &parameters->share_window);
}

inline constexpr crab_policy_param kMaxShareParameter = {
    "max_share",
    "no backend gets more than this many times its share of a window of connections; 0 is no "
    "limit, otherwise 1 to 1000, default 2"};
inline constexpr crab_policy_param kShareWindowParameter = {
    "share_window",
    "length of that window, in connections for each backend; 1 to 1000, default 10"};

// `Read` is a function (PolicyParameters&, QueuePolicy::Parameters*).
template <auto Read>
struct QueueOps {
  static int create(const crab_policy_host* host, const crab_policy_kv* kv, size_t n_kv,
                    void** instance, char* err, size_t err_len) try {
    QueuePolicy::Parameters parameters;
    PolicyParameters given(kv, n_kv, err, err_len);
    Read(given, &parameters);
    read_share_cap(given, &parameters);
    if (given.finish() != 0) return -1;
    *instance = new QueuePolicy(*host, parameters);
    return 0;
  } catch (const std::bad_alloc&) {
    return policy_fail(err, err_len, "out of memory");
  }

  static int rebuild(void* instance, const crab_policy_backend* backends, size_t n, void** set,
                     char* err, size_t err_len) try {
    *set = policy(instance).rebuild({backends, n}).release();
    return 0;
  } catch (const std::bad_alloc&) {
    return policy_fail(err, err_len, "out of memory");
  }

  // The set is the workers' and const in the ABI; its keys are what they are there to change.
  static void pick(void* instance, const void* set, const crab_policy_flow* flows,
                   std::uint32_t* picks, size_t n) {
    policy(instance).pick(*static_cast<QueueSet*>(const_cast<void*>(set)), {flows, n}, {picks, n});
  }

  static void update(void* instance, void* set, const std::uint32_t* indices, size_t n,
                     std::uint64_t now_ns) {
    policy(instance).update(*static_cast<QueueSet*>(set), {indices, n}, now_ns);
  }

  static int explain(void* instance, const void* set, const crab_policy_flow* flow,
                     std::uint32_t* pick, char* why, size_t why_len) try {
    std::string text;
    *pick = policy(instance).explain(*static_cast<const QueueSet*>(set), *flow, text);
    std::snprintf(why, why_len, "%s", text.c_str());
    return 0;
  } catch (const std::bad_alloc&) {
    return -1;
  }

  static void status(void* instance, const void* set, char* rule, size_t rule_len) {
    const std::string text = policy(instance).rule(*static_cast<const QueueSet*>(set));
    std::snprintf(rule, rule_len, "%s", text.c_str());
  }

  static void release(void* instance, void* set) {
    policy(instance).forget(*static_cast<QueueSet*>(set));
    delete static_cast<QueueSet*>(set);
  }

  static void destroy(void* instance) { delete static_cast<QueuePolicy*>(instance); }

  // Eight connections to two idle backends of weights 1 and 3, which report nothing: two and six.
  static int self_test(char* err, size_t err_len) try {
    QueuePolicy::Parameters parameters;
    PolicyParameters given(nullptr, 0, err, err_len);
    Read(given, &parameters);
    const crab_policy_backend backends[2] = {{"a", 0, 1}, {"b", 1, 3}};
    QueuePolicy policy(PolicyInstance::no_reports(), parameters);
    const auto set = policy.rebuild(backends);
    const crab_policy_flow flows[8] = {};
    std::uint32_t picks[8];
    policy.pick(*set, flows, picks);
    if (std::count(picks, picks + 8, 0U) == 2) return 0;
    return policy_fail(err, err_len, "weights 1 and 3 did not get 2 and 6 of 8 connections");
  } catch (const std::bad_alloc&) {
    return policy_fail(err, err_len, "out of memory");
  }

  static constexpr crab_policy_ops table(const char* name, const char* description,
                                         std::span<const crab_policy_param> params) {
    return {
        .abi_version = CRAB_POLICY_ABI_VERSION,
        .struct_size = sizeof(crab_policy_ops),
        .flags = CRAB_POLICY_USES_LOAD,
        .zero = 0,
        .name = name,
        .description = description,
        .params = params.data(),
        .n_params = params.size(),
        .create = create,
        .rebuild = rebuild,
        .pick = pick,
        .update = update,
        .explain = explain,
        .status = status,
        .release = release,
        .destroy = destroy,
        .self_test = self_test,
    };
  }

 private:
  static QueuePolicy& policy(void* instance) { return *static_cast<QueuePolicy*>(instance); }
};

}  // namespace crab
