// SPDX-License-Identifier: Apache-2.0
// What kernel_patch/bpf/load.bpf.c counts, typed. Which backends are watched is decided by one
// thread at a time under a lock; counts are read by any.
#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "control/socket_address.h"
#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/shared_map.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {

struct WatchedBackend {
  SocketAddress address;
  std::uint32_t index = 0;  // in the map of counts
};

// One moment's: closed is never more than accepted.
struct LoadCounts {
  std::uint64_t accepted = 0;
  std::uint64_t closed = 0;
  std::uint64_t lingering = 0;

  std::uint64_t open() const { return accepted - closed + lingering; }
};

class LoadMaps {
 public:
  // Opens what is pinned. Throws AgentError.
  explicit LoadMaps(const PinDirectory& directory);

  // Watches all of these, up to CRAB_MAX_WATCHED. A backend that was watched before keeps its
  // counts, also if it was not wanted meanwhile; only when room is short are all forgotten, and
  // counting begins anew with another boot id. Throws AgentError if the kernel refuses.
  void watch(std::span<const SocketAddress> wanted);
  // Those of them that are watched, in their order.
  std::vector<WatchedBackend> find(std::span<const SocketAddress> wanted) const;
  std::vector<WatchedBackend> watched() const;

  LoadCounts counts(std::uint32_t index) const;
  // Connections that this node redirected here; never more than accepted in counts() read after
  // it. With an endpoint in the kernel as of AcceptedNodes::refresh().
  std::uint64_t accepted_from(std::uint32_t index, std::uint8_t node) const;

  crab_load& load(std::uint32_t index) const { return loads_[index]; }
  crab_load_settings& settings() const { return settings_[0]; }

 private:
  std::vector<WatchedBackend> read_watched() const;
  void add(const SocketAddress& address, std::uint32_t index) const;
  void begin_anew();

  UniqueFd backends_;
  SharedMap<crab_load> loads_;
  SharedMap<crab_load_settings> settings_;
  mutable std::mutex mutex_;
  std::vector<WatchedBackend> watched_;  // mutex_
};

}  // namespace crab
