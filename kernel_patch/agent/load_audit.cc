// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_audit.h"

#include <arpa/inet.h>
#include <algorithm>
#include <atomic>

#include <chrono>
#include <cstring>
#include <map>
#include <thread>

#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/tcp_sockets.h"

namespace crab {
namespace {

// A socket changes its state and passes the tracepoint one after the other; a look may fall between
// the two. Only what a second look finds as well is corrected.
constexpr std::chrono::milliseconds kBetweenLooks{2};

std::uint16_t only_port(const std::vector<WatchedBackend>& backends) {
  const std::uint16_t port = backends.front().address.port;
  const bool is_only = std::all_of(backends.begin(), backends.end(), [port](const auto& backend) {
    return backend.address.port == port;
  });
  return is_only ? port : 0;
}

}  // namespace

std::int64_t discrepancy(const LoadCounts& before, const LoadCounts& after, std::uint64_t n_open) {
  const auto open = static_cast<std::int64_t>(before.accepted - before.closed);
  const auto least = open - static_cast<std::int64_t>(after.closed - before.closed);
  const auto most = open + static_cast<std::int64_t>(after.accepted - before.accepted);
  const auto found = static_cast<std::int64_t>(n_open);
  if (found < least) return found - least;
  return found > most ? found - most : 0;
}

LoadAudit::Look LoadAudit::look(const std::vector<WatchedBackend>& backends) const {
  using Key = std::pair<std::array<__be32, 4>, __be16>;
  const auto key_of = [](const crab_addr& address, __be16 port) {
    return Key{{address.w[0], address.w[1], address.w[2], address.w[3]}, port};
  };
  Look result;
  result.n_lingering.resize(backends.size());
  std::vector<std::uint64_t> n_open(backends.size());
  std::vector<LoadCounts> before;
  std::map<Key, std::size_t> places;
  for (const WatchedBackend& backend : backends) {
    const Key key = key_of(to_mapped(backend.address.address), htons(backend.address.port));
    places.emplace(key, before.size());
    before.push_back(maps_.counts(backend.index));
  }
  for_each_open_socket(only_port(backends), [&](const TcpSocket& socket) {
    const auto place = places.find(key_of(socket.tuple.local, socket.tuple.lport));
    if (place == places.end()) return;
    if (!socket.is_lingering) {
      ++n_open[place->second];
      return;
    }
    TupleBytes bytes;
    std::memcpy(bytes.data(), &socket.tuple, sizeof bytes);
    if (lingering_.contains(bytes)) ++result.n_lingering[place->second];
    result.lingering.insert(bytes);
  });
  for (std::size_t i = 0; i < backends.size(); ++i) {
    result.discrepancies.push_back(
        discrepancy(before[i], maps_.counts(backends[i].index), n_open[i]));
  }
  return result;
}

void LoadAudit::repair(const WatchedBackend& backend, std::int64_t first,
                       std::int64_t second) const {
  crab_load& load = maps_.load(backend.index);
  std::uint64_t n = 0;
  if (first > 0 && second > 0) {
    n = static_cast<std::uint64_t>(std::min(first, second));
    std::atomic_ref(load.accepted).fetch_add(n);
  } else if (first < 0 && second < 0) {
    n = static_cast<std::uint64_t>(-std::max(first, second));
    std::atomic_ref(load.closed).fetch_add(n);
  }
  // What was there before counting began is no error.
  if (std::atomic_ref(load.audited).exchange(1) != 0) {
    std::atomic_ref(maps_.settings().repaired).fetch_add(n);
  }
}

void LoadAudit::run() {
  const std::lock_guard lock(mutex_);
  const std::vector<WatchedBackend> backends = maps_.watched();
  if (backends.empty()) return;
  Look first = look(backends);
  for (std::size_t i = 0; i < backends.size(); ++i) {
    std::atomic_ref(maps_.load(backends[i].index).lingering).store(first.n_lingering[i]);
  }
  lingering_ = std::move(first.lingering);
  const auto is_wrong = [](std::int64_t by) { return by != 0; };
  std::vector<std::int64_t> second(backends.size());
  if (std::any_of(first.discrepancies.begin(), first.discrepancies.end(), is_wrong)) {
    std::this_thread::sleep_for(kBetweenLooks);
    second = look(backends).discrepancies;
  }
  for (std::size_t i = 0; i < backends.size(); ++i) {
    repair(backends[i], first.discrepancies[i], second[i]);
  }
}

}  // namespace crab
