// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_maps.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <system_error>

#include "kernel_patch/agent/mapped_address.h"

namespace crab {
namespace {

std::uint64_t load_of(__u64& word) { return std::atomic_ref(word).load(); }

crab_backend_key key_of(const SocketAddress& backend) {
  crab_backend_key key{};
  key.addr = to_mapped(backend.address);
  key.port = htons(backend.port);
  return key;
}

std::uint64_t new_boot_id() {
  std::uint64_t id = 0;
  while (id == 0) {
    if (getrandom(&id, sizeof id, 0) != sizeof id) {
      throw AgentError(fmt::format("getrandom: {}", std::generic_category().message(errno)));
    }
  }
  return id;
}

}  // namespace

UniqueFd open_pinned_map(const PinDirectory& directory, const std::string& name) {
  UniqueFd fd(bpf_obj_get(directory.pin(name).c_str()));
  if (!fd) {
    throw AgentError(
        fmt::format("{}: {}", directory.pin(name), std::generic_category().message(errno)));
  }
  return fd;
}

LoadMaps::LoadMaps(const PinDirectory& directory)
    : backends_(open_pinned_map(directory, "load_backends")),
      loads_(directory, "loads", CRAB_MAX_WATCHED),
      settings_(directory, "load_settings", 1) {
  watched_ = read_watched();
}

std::vector<WatchedBackend> LoadMaps::read_watched() const {
  std::vector<WatchedBackend> found;
  crab_backend_key key{};
  const crab_backend_key* previous = nullptr;
  while (bpf_map_get_next_key(backends_.get(), previous, &key) == 0) {
    WatchedBackend& backend = found.emplace_back();
    backend.address = {from_mapped(key.addr), ntohs(key.port)};
    bpf_map_lookup_elem(backends_.get(), &key, &backend.index);
    previous = &key;
  }
  std::sort(found.begin(), found.end(),
            [](const WatchedBackend& a, const WatchedBackend& b) { return a.address < b.address; });
  return found;
}

void LoadMaps::add(const SocketAddress& address, std::uint32_t index) const {
  loads_[index] = {};
  const crab_backend_key key = key_of(address);
  if (bpf_map_update_elem(backends_.get(), &key, &index, BPF_NOEXIST) != 0) {
    throw AgentError(fmt::format("cannot watch {}: {}", endpoint_text(key.addr, key.port),
                                 std::generic_category().message(errno)));
  }
}

// Nobody is watched afterwards.
void LoadMaps::begin_anew() {
  for (const WatchedBackend& backend : watched_) {
    const crab_backend_key key = key_of(backend.address);
    bpf_map_delete_elem(backends_.get(), &key);
  }
  watched_.clear();
  std::atomic_ref(settings().boot_id).store(new_boot_id());
}

void LoadMaps::watch(std::span<const SocketAddress> wanted) {
  const std::lock_guard lock(mutex_);
  if (settings().boot_id == 0) begin_anew();
  std::set<SocketAddress> distinct(wanted.begin(), wanted.end());
  while (distinct.size() > CRAB_MAX_WATCHED) distinct.erase(std::prev(distinct.end()));
  const auto is_wanted = [&distinct](const WatchedBackend& b) {
    return distinct.contains(b.address);
  };
  const auto n_known =
      static_cast<std::size_t>(std::count_if(watched_.begin(), watched_.end(), is_wanted));
  if (watched_.size() + distinct.size() - n_known > CRAB_MAX_WATCHED) begin_anew();

  // Indices are given in order and none is given back before the next beginning.
  for (const WatchedBackend& known : watched_) {
    const auto it = distinct.find(known.address);
    if (it != distinct.end()) distinct.erase(it);
  }
  for (const SocketAddress& address : distinct) {
    const auto index = static_cast<std::uint32_t>(watched_.size());
    add(address, index);
    watched_.push_back({address, index});
  }
}

std::vector<WatchedBackend> LoadMaps::find(std::span<const SocketAddress> wanted) const {
  const std::lock_guard lock(mutex_);
  std::vector<WatchedBackend> found;
  for (const SocketAddress& address : wanted) {
    const auto is_it = [&address](const WatchedBackend& b) { return b.address == address; };
    const auto it = std::find_if(watched_.begin(), watched_.end(), is_it);
    if (it != watched_.end()) found.push_back(*it);
  }
  return found;
}

std::vector<WatchedBackend> LoadMaps::watched() const {
  const std::lock_guard lock(mutex_);
  return watched_;
}

LoadCounts LoadMaps::counts(std::uint32_t index) const {
  crab_load& load = loads_[index];
  LoadCounts counts;
  // Read until no connection came in between; a busy host gets what is right but for the last few.
  for (int i = 0; i < 4; ++i) {
    counts.closed = load_of(load.closed);
    counts.accepted = load_of(load.accepted);
    if (load_of(load.closed) == counts.closed) break;
  }
  counts.lingering = load_of(load.lingering);
  return counts;
}

std::uint64_t LoadMaps::accepted_from(std::uint32_t index, std::uint8_t node) const {
  crab_load& load = loads_[index];
  const std::uint64_t by_node = load_of(load.accepted_by_node[node]);
  // A kernel endpoint counts a handshake a moment before the tracepoint passes.
  return std::min(by_node, load_of(load.accepted));
}

}  // namespace crab
