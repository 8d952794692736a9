// SPDX-License-Identifier: Apache-2.0
#include "policies/random.h"

#include <cstdint>
#include <cstdio>
#include <new>
#include <vector>

#include "policies/parameters.h"

namespace crab {
namespace {

__extension__ using Wide = unsigned __int128;

// Walker's alias method in Vose's form (IEEE TSE 17(9), 1991): column i stands for backend i with
// probability `threshold / 2^32`, otherwise for `alias`. One multiplication and one compare a
// pick, whatever the weights and however many backends.
struct Column {
  std::uint32_t threshold;
  std::uint32_t alias;
};

struct Set {
  std::vector<Column> columns;
};

// Exact in integers: each column holds `total` units, and backend i brings weight_i * n of them.
Set build_columns(const crab_policy_backend* backends, size_t n) {
  std::uint64_t total = 0;
  for (size_t i = 0; i < n; ++i) total += backends[i].weight;
  std::vector<std::uint64_t> units(n);
  std::vector<std::uint32_t> small;
  std::vector<std::uint32_t> large;
  for (size_t i = 0; i < n; ++i) {
    units[i] = static_cast<std::uint64_t>(backends[i].weight) * n;
    (units[i] < total ? small : large).push_back(static_cast<std::uint32_t>(i));
  }
  Set set;
  set.columns.resize(n);
  const auto fill = [&](std::uint32_t i, std::uint32_t alias) {
    const auto scaled = (static_cast<Wide>(units[i]) << 32) / total;
    const auto threshold = scaled > UINT32_MAX ? UINT32_MAX : static_cast<std::uint32_t>(scaled);
    set.columns[i] = {threshold, alias};
  };
  while (!small.empty() && !large.empty()) {
    const auto poor = small.back();
    const auto rich = large.back();
    small.pop_back();
    fill(poor, rich);
    units[rich] -= total - units[poor];
    if (units[rich] < total) {
      large.pop_back();
      small.push_back(rich);
    }
  }
  for (const auto i : large) fill(i, i);
  for (const auto i : small) fill(i, i);
  return set;
}

int create(const crab_policy_kv* kv, size_t n_kv, void** instance, char* err, size_t err_len) {
  *instance = nullptr;  // nothing to share: the flow's hash is the randomness
  return policy_refuse_parameters(kv, n_kv, err, err_len);
}

int rebuild(void*, const crab_policy_backend* backends, size_t n, void** set, char* err,
            size_t err_len) try {
  *set = new Set(build_columns(backends, n));
  return 0;
} catch (const std::bad_alloc&) {
  return policy_fail(err, err_len, "out of memory");
}

// The hash's upper half selects the column by multiplication (Lemire, "Fast random integer
// generation in an interval", TOMACS 2019, without the rejection: the bias is n / 2^32), the lower
// half decides between the column's two backends.
std::uint32_t choose(const Set& set, std::uint64_t hash) {
  const auto n = static_cast<std::uint64_t>(set.columns.size());
  const auto i = static_cast<std::uint32_t>(((hash >> 32) * n) >> 32);
  const Column column = set.columns[i];
  return static_cast<std::uint32_t>(hash) < column.threshold ? i : column.alias;
}

void pick(void*, const void* set, const crab_policy_flow* flows, std::uint32_t* picks, size_t n) {
  for (size_t i = 0; i < n; ++i) picks[i] = choose(*static_cast<const Set*>(set), flows[i].hash);
}

int explain(void*, const void* set, const crab_policy_flow* flow, std::uint32_t* pick, char* why,
            size_t why_len) {
  *pick = choose(*static_cast<const Set*>(set), flow->hash);
  std::snprintf(why, why_len, "the connection's hash is %016llx",
                static_cast<unsigned long long>(flow->hash));
  return 0;
}

void release(void*, void* set) { delete static_cast<Set*>(set); }
void destroy(void*) {}

int self_test(char* err, size_t err_len) {
  const crab_policy_backend backends[2] = {{"a", 0, 1}, {"b", 1, 3}};
  const Set set = build_columns(backends, 2);
  unsigned n_first = 0;
  for (std::uint64_t i = 0; i < 4096; ++i) n_first += choose(set, i * 0x9E3779B97F4A7C15ULL) == 0;
  if (n_first > 960 && n_first < 1088) return 0;
  return policy_fail(err, err_len, "weight 1 of 4 got %u of 4096 picks", n_first);
}

}  // namespace

const crab_policy_ops kRandomPolicy = {
    .abi_version = CRAB_POLICY_ABI_VERSION,
    .struct_size = sizeof(crab_policy_ops),
    .name = "random",
    .description = "a backend at random, in proportion to weights",
    .params = nullptr,
    .n_params = 0,
    .create = create,
    .rebuild = rebuild,
    .pick = pick,
    .explain = explain,
    .release = release,
    .destroy = destroy,
    .self_test = self_test,
};

}  // namespace crab
