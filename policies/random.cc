// SPDX-License-Identifier: Apache-2.0
#include "policies/random.h"

#include <cstdint>
#include <cstdio>
#include <new>
#include <vector>

#include "policies/alias_table.h"
#include "policies/parameters.h"

namespace crab {
namespace {

struct Set {
  AliasTable table;
};

int create(const crab_policy_host*, const crab_policy_kv* kv, size_t n_kv, void** instance,
           char* err, size_t err_len) {
  *instance = nullptr;  // nothing to share: the flow's hash is the randomness
  return policy_refuse_parameters(kv, n_kv, err, err_len);
}

int rebuild(void*, const crab_policy_backend* backends, size_t n, void** set, char* err,
            size_t err_len) try {
  std::vector<std::uint32_t> weights(n);
  for (size_t i = 0; i < n; ++i) weights[i] = backends[i].weight;
  *set = new Set{AliasTable(weights)};
  return 0;
} catch (const std::bad_alloc&) {
  return policy_fail(err, err_len, "out of memory");
}

void pick(void*, const void* set, const crab_policy_flow* flows, std::uint32_t* picks, size_t n) {
  for (size_t i = 0; i < n; ++i) picks[i] = static_cast<const Set*>(set)->table.draw(flows[i].hash);
}

int explain(void*, const void* set, const crab_policy_flow* flow, std::uint32_t* pick, char* why,
            size_t why_len) {
  *pick = static_cast<const Set*>(set)->table.draw(flow->hash);
  std::snprintf(why, why_len, "the connection's hash is %016llx",
                static_cast<unsigned long long>(flow->hash));
  return 0;
}

void release(void*, void* set) { delete static_cast<Set*>(set); }
void destroy(void*) {}

int self_test(char* err, size_t err_len) try {
  constexpr std::uint32_t kWeights[] = {1, 3};
  const AliasTable table(kWeights);
  unsigned n_first = 0;
  for (std::uint64_t i = 0; i < 4096; ++i) n_first += table.draw(i * 0x9E3779B97F4A7C15ULL) == 0;
  if (n_first > 960 && n_first < 1088) return 0;
  return policy_fail(err, err_len, "weight 1 of 4 got %u of 4096 picks", n_first);
} catch (const std::bad_alloc&) {
  return policy_fail(err, err_len, "out of memory");
}

}  // namespace

const crab_policy_ops kRandomPolicy = {
    .abi_version = CRAB_POLICY_ABI_VERSION,
    .struct_size = sizeof(crab_policy_ops),
    .flags = 0,
    .zero = 0,
    .name = "random",
    .description = "a backend at random, in proportion to weights",
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
