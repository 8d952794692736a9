// SPDX-License-Identifier: Apache-2.0
#include "policies/maglev.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>
#include <numeric>

#include "policies/parameters.h"
#include "policies/splitmix.h"

namespace crab {
namespace {

constexpr std::uint32_t kLeastTable = 101;
constexpr std::uint32_t kGreatestTable = 16'777'213;  // the greatest prime below 2^24
constexpr std::size_t kEntriesPerBackend = 100;       // the paper's, for a balance within 1%
constexpr std::size_t kMaxBackends = 65'536;          // of a set: entries have 16 bits

__extension__ using Wide = unsigned __int128;

struct Instance {
  std::uint32_t table_size = 0;  // 0: chosen by the number of backends
};

struct Set {
  std::vector<std::uint16_t> table;
};

bool is_prime(std::uint64_t n) {
  if (n < 4) return n > 1;
  if (n % 2 == 0) return false;
  for (std::uint64_t d = 3; d * d <= n; d += 2) {
    if (n % d == 0) return false;
  }
  return true;
}

std::uint64_t next_prime(std::uint64_t n) {
  while (!is_prime(n)) ++n;
  return n;
}

// FNV-1a of 64 bits with splitmix64's finaliser: nothing that a node or a build could change.
std::uint64_t hash_id(const char* id, std::uint64_t seed) {
  std::uint64_t hash = 0xcbf29ce484222325 ^ seed;
  for (; *id != '\0'; ++id) hash = (hash ^ static_cast<unsigned char>(*id)) * 0x100000001b3;
  return splitmix(hash);
}

// A backend's order of preference: position, position + skip, ... modulo the table's size.
struct Preference {
  std::uint32_t position;
  std::uint32_t skip;
  std::uint32_t backend;
  std::uint32_t weight;
  std::uint64_t n_turns;  // that it has had
};

std::vector<Preference> preferences(std::span<const crab_policy_backend> backends,
                                    std::uint32_t size) {
  std::vector<std::uint32_t> by_id(backends.size());
  std::iota(by_id.begin(), by_id.end(), 0U);
  std::sort(by_id.begin(), by_id.end(), [&](std::uint32_t a, std::uint32_t b) {
    return std::strcmp(backends[a].id, backends[b].id) < 0;
  });
  std::vector<Preference> out;
  out.reserve(backends.size());
  for (const auto b : by_id) {
    const auto position = static_cast<std::uint32_t>(hash_id(backends[b].id, 0) % size);
    const auto skip =
        static_cast<std::uint32_t>(hash_id(backends[b].id, 0x9e3779b97f4a7c15) % (size - 1) + 1);
    out.push_back({position, skip, b, backends[b].weight, 0});
  }
  return out;
}

std::uint32_t entry_of(const Set& set, std::uint64_t tuple_hash) {
  return static_cast<std::uint32_t>(Wide{tuple_hash} * set.table.size() >> 64);
}

int create(const crab_policy_host*, const crab_policy_kv* kv, size_t n_kv, void** instance,
           char* err, size_t err_len) {
  Instance settings;
  PolicyParameters given(kv, n_kv, err, err_len);
  const bool is_set = given.whole("table_size", kLeastTable, kGreatestTable, &settings.table_size);
  if (given.finish() != 0) return -1;
  if (is_set && !is_prime(settings.table_size)) {
    return policy_fail(
        err, err_len, "parameter 'table_size': %u is not a prime number; the next one is %llu",
        settings.table_size, static_cast<unsigned long long>(next_prime(settings.table_size)));
  }
  *instance = new (std::nothrow) Instance(settings);
  return *instance ? 0 : policy_fail(err, err_len, "out of memory");
}

int rebuild(void* instance, const crab_policy_backend* backends, size_t n, void** set, char* err,
            size_t err_len) try {
  const std::uint32_t chosen = static_cast<const Instance*>(instance)->table_size;
  if (n > kMaxBackends) {
    return policy_fail(err, err_len, "%zu backends, of at most %zu", n, kMaxBackends);
  }
  if (chosen != 0 && chosen < n) {
    return policy_fail(
        err, err_len, "parameter 'table_size': %u entries are too few for %zu backends", chosen, n);
  }
  *set = new Set{maglev_table({backends, n}, chosen != 0 ? chosen : maglev_table_size(n))};
  return 0;
} catch (const std::bad_alloc&) {
  return policy_fail(err, err_len, "out of memory");
}

void pick(void*, const void* set, const crab_policy_flow* flows, std::uint32_t* picks, size_t n) {
  const Set& known = *static_cast<const Set*>(set);
  for (size_t i = 0; i < n; ++i) picks[i] = known.table[entry_of(known, flows[i].tuple_hash)];
}

int explain(void*, const void* set, const crab_policy_flow* flow, std::uint32_t* pick, char* why,
            size_t why_len) {
  const Set& known = *static_cast<const Set*>(set);
  const std::uint32_t entry = entry_of(known, flow->tuple_hash);
  *pick = known.table[entry];
  std::snprintf(why, why_len, "addresses and ports hash to entry %u of %zu, of which it has %td",
                entry, known.table.size(),
                std::count(known.table.begin(), known.table.end(), known.table[entry]));
  return 0;
}

void release(void*, void* set) { delete static_cast<Set*>(set); }
void destroy(void* instance) { delete static_cast<Instance*>(instance); }

int self_test(char* err, size_t err_len) {
  const crab_policy_backend backends[3] = {{"a", 0, 1}, {"b", 1, 1}, {"c", 2, 2}};
  const auto table = maglev_table(backends, kLeastTable);
  for (const auto& backend : backends) {
    const auto n = std::count(table.begin(), table.end(), backend.load_slot);
    const auto due = static_cast<std::ptrdiff_t>(kLeastTable * backend.weight / 4);
    if (n < due - 1 || n > due + 1) {
      return policy_fail(err, err_len, "weight %u of 4 got %td of %u entries", backend.weight, n,
                         kLeastTable);
    }
  }
  return 0;
}

constexpr crab_policy_param kParameters[] = {
    {"table_size",
     "entries of the look-up table, a prime number from 101 to 16777213. Default: the least prime "
     "above 65536 times a power of two that is at least 100 times the backends, so 65537 up to "
     "655 backends. Another size moves nearly every connection's place"},
};

}  // namespace

std::uint32_t maglev_table_size(std::size_t n_backends) {
  std::uint64_t least = 65'536;
  while (least < kEntriesPerBackend * n_backends) least *= 2;
  return static_cast<std::uint32_t>(next_prime(least));
}

// The paper's pseudocode 1 with its remark on weights: a backend takes a turn less often than once
// a round, as its weight relative to the greatest says. All take one in the first round, so that
// none is left without an entry.
std::vector<std::uint16_t> maglev_table(std::span<const crab_policy_backend> backends,
                                        std::uint32_t size) {
  auto all = preferences(backends, size);
  std::uint64_t greatest = 1;
  for (const auto& backend : backends) greatest = std::max<std::uint64_t>(greatest, backend.weight);
  // Whose turn it is in a round: a list for each. The heaviest takes an entry in every round, so
  // that there are no more rounds than entries.
  constexpr std::uint32_t kNone = ~0U;
  std::vector<std::uint32_t> first_in(std::size_t{size} + 1, kNone);
  std::vector<std::uint32_t> next_in_list(all.size());
  const auto queue = [&](std::uint32_t i) {
    const std::uint64_t w = all[i].weight;
    const std::uint64_t round = (all[i].n_turns * greatest + w - 1) / w;
    if (round > size) return;
    next_in_list[i] = first_in[round];
    first_in[round] = i;
  };
  for (std::uint32_t i = 0; i < all.size(); ++i) queue(i);

  std::vector<std::uint16_t> table(size);
  // Beside the table, because it stays in a nearer cache.
  std::vector<std::uint64_t> taken(size / 64 + 1);
  for (std::uint32_t n_filled = 0, round = 0; n_filled < size; ++round) {
    for (std::uint32_t i = first_in[round]; i != kNone && n_filled < size; ++n_filled) {
      Preference& turn = all[i];
      std::uint32_t entry = turn.position;
      while ((taken[entry / 64] >> (entry % 64) & 1) != 0) {
        entry += turn.skip;
        if (entry >= size) entry -= size;
      }
      taken[entry / 64] |= std::uint64_t{1} << (entry % 64);
      table[entry] = static_cast<std::uint16_t>(turn.backend);
      turn.position = entry;
      ++turn.n_turns;
      const std::uint32_t next = next_in_list[i];
      queue(i);
      i = next;
    }
  }
  return table;
}

const crab_policy_ops kMaglevPolicy = {
    .abi_version = CRAB_POLICY_ABI_VERSION,
    .struct_size = sizeof(crab_policy_ops),
    .flags = CRAB_POLICY_NEEDS_TUPLE_HASH,
    .zero = 0,
    .name = "maglev",
    .description =
        "consistent hash of addresses and ports, in proportion to weights: few "
        "connections change places when backends come and go",
    .params = kParameters,
    .n_params = std::size(kParameters),
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
