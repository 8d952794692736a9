// SPDX-License-Identifier: Apache-2.0
#include "policies/weighted_round_robin.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <new>
#include <numeric>
#include <queue>

#include "policies/parameters.h"

namespace crab {
namespace {

constexpr std::uint64_t kExactCycle = 65'536;
constexpr std::uint64_t kTurnsPerBackend = 16;

struct Instance {
  // The number of connections placed so far, by all workers.
  alignas(64) std::atomic<std::uint64_t> cursor{0};
};

struct Set {
  std::vector<std::uint32_t> order;
};

// A backend's next turn. With m = 2n - 2 and W the cycle's length, turn k of a backend with w turns
// may be taken at the first t with w*t - k*W >= W/m, and has to be before w*t - k*W > W - W/m.
struct Turn {
  std::uint32_t backend;
  std::uint64_t deadline_times_w;  // in units of W/m
  std::uint64_t w;

  // The one that is due later, for a heap with the earliest on top. The products fit: k and w are
  // below 2^21, m below 2^18.
  bool operator<(const Turn& other) const {
    const std::uint64_t mine = deadline_times_w * other.w;
    const std::uint64_t others = other.deadline_times_w * w;
    return mine != others ? mine > others : backend > other.backend;
  }
};

int create(const crab_policy_host*, const crab_policy_kv* kv, size_t n_kv, void** instance,
           char* err, size_t err_len) {
  if (policy_refuse_parameters(kv, n_kv, err, err_len) != 0) return -1;
  *instance = new (std::nothrow) Instance;
  return *instance ? 0 : policy_fail(err, err_len, "out of memory");
}

int rebuild(void*, const crab_policy_backend* backends, size_t n, void** set, char* err,
            size_t err_len) try {
  std::vector<std::uint32_t> weights(n);
  for (size_t i = 0; i < n; ++i) weights[i] = backends[i].weight;
  *set = new Set{smooth_order(turns_of(weights))};
  return 0;
} catch (const std::bad_alloc&) {
  return policy_fail(err, err_len, "out of memory");
}

void pick(void* instance, const void* set, const crab_policy_flow*, std::uint32_t* picks,
          size_t n) {
  const auto& order = static_cast<const Set*>(set)->order;
  auto next = static_cast<Instance*>(instance)->cursor.fetch_add(n, std::memory_order_relaxed) %
              order.size();
  for (size_t i = 0; i < n; ++i) {
    picks[i] = order[next];
    if (++next == order.size()) next = 0;
  }
}

int explain(void* instance, const void* set, const crab_policy_flow*, std::uint32_t* pick,
            char* why, size_t why_len) {
  const auto& order = static_cast<const Set*>(set)->order;
  const size_t turn =
      static_cast<Instance*>(instance)->cursor.load(std::memory_order_relaxed) % order.size();
  *pick = order[turn];
  std::snprintf(why, why_len, "turn %zu of a cycle of %zu, of which it has %td", turn + 1,
                order.size(), std::count(order.begin(), order.end(), *pick));
  return 0;
}

void release(void*, void* set) { delete static_cast<Set*>(set); }
void destroy(void* instance) { delete static_cast<Instance*>(instance); }

int self_test(char* err, size_t err_len) {
  constexpr std::uint32_t kWeights[] = {10, 2, 2};
  constexpr std::uint32_t kExpected[] = {0, 0, 1, 0, 0, 2, 0};
  const auto order = smooth_order(turns_of(kWeights));
  if (std::equal(order.begin(), order.end(), std::begin(kExpected), std::end(kExpected))) return 0;
  return policy_fail(err, err_len, "weights 10 2 2 do not give the order 0 0 1 0 0 2 0");
}

}  // namespace

std::vector<std::uint32_t> turns_of(std::span<const std::uint32_t> weights) {
  std::uint32_t divisor = 0;
  std::uint64_t total = 0;
  for (const auto weight : weights) {
    divisor = std::gcd(divisor, weight);
    total += weight;
  }
  const std::uint64_t longest = std::max(kExactCycle, kTurnsPerBackend * weights.size());
  const bool is_exact = total / divisor <= longest;
  const std::uint64_t from = is_exact ? divisor : total;
  const std::uint64_t to = is_exact ? 1 : longest;
  std::vector<std::uint32_t> turns;
  turns.reserve(weights.size());
  for (const auto weight : weights) {
    const std::uint64_t rounded = (weight * to + from / 2) / from;
    turns.push_back(static_cast<std::uint32_t>(std::max<std::uint64_t>(rounded, 1)));
  }
  return turns;
}

// Earliest deadline first among the turns that may be taken already.
std::vector<std::uint32_t> smooth_order(std::span<const std::uint32_t> turns) {
  const std::uint64_t cycle = std::accumulate(turns.begin(), turns.end(), std::uint64_t{0});
  if (turns.size() == 1) return std::vector<std::uint32_t>(cycle, 0);
  const std::uint64_t m = 2 * turns.size() - 2;
  constexpr std::uint32_t kNone = ~0U;
  // Backends by the time of their next turn's release, from 1: a list for each.
  std::vector<std::uint32_t> first_at(cycle + 1, kNone);
  std::vector<std::uint32_t> next_in_list(turns.size());
  std::vector<std::uint32_t> n_taken(turns.size());
  const auto release_after = [&](std::uint32_t b, std::uint64_t now) {
    const std::uint64_t k = n_taken[b];
    if (k == turns[b]) return;  // its share of the cycle is complete
    const std::uint64_t per_tick = turns[b] * m;
    const std::uint64_t release = (cycle * (1 + k * m) + per_tick - 1) / per_tick;
    auto& list = first_at[std::max(release, now + 1)];
    next_in_list[b] = list;
    list = b;
  };
  for (std::uint32_t b = 0; b < turns.size(); ++b) release_after(b, 0);
  std::priority_queue<Turn> due;
  std::vector<std::uint32_t> order;
  order.reserve(cycle);
  for (std::uint64_t t = 1; t <= cycle; ++t) {
    for (std::uint32_t b = first_at[t]; b != kNone; b = next_in_list[b]) {
      due.push({b, (n_taken[b] + std::uint64_t{1}) * m - 1, turns[b]});
    }
    const std::uint32_t b = due.top().backend;
    due.pop();
    order.push_back(b);
    ++n_taken[b];
    release_after(b, t);
  }
  return order;
}

const crab_policy_ops kWeightedRoundRobinPolicy = {
    .abi_version = CRAB_POLICY_ABI_VERSION,
    .struct_size = sizeof(crab_policy_ops),
    .flags = 0,
    .zero = 0,
    .name = "weighted_round_robin",
    .description =
        "each backend in turn, as often as its weight says and evenly spread; shared "
        "by all workers",
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
