// SPDX-License-Identifier: Apache-2.0
#include "policies/round_robin.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

#include "policies/parameters.h"

namespace crab {
namespace {

struct Instance {
  // The number of connections placed so far. Claimed by every worker with one fetch_add per
  // batch: a cursor per worker would send bursts of equal picks to the first backends.
  alignas(64) std::atomic<std::uint64_t> cursor{0};
};

struct Set {
  std::uint64_t n;
};

int create(const crab_policy_host*, const crab_policy_kv* kv, size_t n_kv, void** instance,
           char* err, size_t err_len) {
  if (policy_refuse_parameters(kv, n_kv, err, err_len) != 0) return -1;
  *instance = new (std::nothrow) Instance;
  return *instance ? 0 : policy_fail(err, err_len, "out of memory");
}

int rebuild(void*, const crab_policy_backend*, size_t n, void** set, char* err, size_t err_len) {
  *set = new (std::nothrow) Set{n};
  return *set ? 0 : policy_fail(err, err_len, "out of memory");
}

void pick(void* instance, const void* set, const crab_policy_flow*, std::uint32_t* picks,
          size_t n) {
  const auto n_backends = static_cast<const Set*>(set)->n;
  auto next =
      static_cast<Instance*>(instance)->cursor.fetch_add(n, std::memory_order_relaxed) % n_backends;
  for (size_t i = 0; i < n; ++i) {
    picks[i] = static_cast<std::uint32_t>(next);
    if (++next == n_backends) next = 0;
  }
}

int explain(void* instance, const void* set, const crab_policy_flow*, std::uint32_t* pick,
            char* why, size_t why_len) {
  const auto cursor = static_cast<Instance*>(instance)->cursor.load(std::memory_order_relaxed);
  *pick = static_cast<std::uint32_t>(cursor % static_cast<const Set*>(set)->n);
  std::snprintf(why, why_len, "next in turn: connection %llu of this service",
                static_cast<unsigned long long>(cursor));
  return 0;
}

void release(void*, void* set) { delete static_cast<Set*>(set); }
void destroy(void* instance) { delete static_cast<Instance*>(instance); }

int self_test(char* err, size_t err_len) {
  Instance instance;
  const Set set{3};
  const crab_policy_flow flows[4] = {};
  std::uint32_t picks[4];
  pick(&instance, &set, flows, picks, 4);
  constexpr std::uint32_t kExpected[4] = {0, 1, 2, 0};
  if (std::memcmp(picks, kExpected, sizeof picks) == 0) return 0;
  return policy_fail(err, err_len, "four picks of three backends are not 0 1 2 0");
}

}  // namespace

const crab_policy_ops kRoundRobinPolicy = {
    .abi_version = CRAB_POLICY_ABI_VERSION,
    .struct_size = sizeof(crab_policy_ops),
    .flags = 0,
    .zero = 0,
    .name = "round_robin",
    .description = "each backend in turn, shared by all workers; ignores weights",
    .params = nullptr,
    .n_params = 0,
    .create = create,
    .rebuild = rebuild,
    .pick = pick,
    .update = nullptr,
    .explain = explain,
    .status = nullptr,
    .release = release,
    .destroy = destroy,
    .self_test = self_test,
};

}  // namespace crab
