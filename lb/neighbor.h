// SPDX-License-Identifier: Apache-2.0
// Follows Linux's route, link and neighbour tables by netlink, and has it keep the neighbours
// that backends are reached through. There is no ARP here: Linux asks and answers over the host
// interface. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <optional>
#include <unordered_set>
#include <vector>

#include "control/dataplane.h"
#include "lb/netlink.h"
#include "lb/next_hop_table.h"

namespace crab {

class NeighborFollower {
 public:
  // `requests` outlives the follower. Throws std::system_error.
  NeighborFollower(boost::asio::io_context& io, NetlinkSocket& requests,
                   std::vector<HostLink> links);
  ~NeighborFollower();
  NeighborFollower(const NeighborFollower&) = delete;
  NeighborFollower& operator=(const NeighborFollower&) = delete;

  // Exactly these backends from now on. Their states arrive through the callback, never before
  // this returns.
  void resolve(const std::vector<IpAddress>& backends);
  void on_next_hop(Dataplane::NextHopCallback callback) { callback_ = std::move(callback); }

 private:
  void wait_for_notifications();
  void notified(const nlmsghdr* message);
  void link_changed(const nlmsghdr* message);
  void route_changed(const nlmsghdr* message);
  void neighbor_changed(const nlmsghdr* message);
  void read_everything_again();

  void look_up_later(const std::vector<IpAddress>& backends);
  void schedule();
  void work();
  Route look_up(const IpAddress& backend);
  void keep(const NeighborKey& key);
  void release(const NeighborKey& key);
  void refresh_links();
  void arm_refresh();

  struct KernelNeighbor {
    Neighbor neighbor;
    bool is_static = false;   // an operator's entry: never touched
    bool is_managed = false;  // the kernel keeps it for us
  };
  static KernelNeighbor parse_neighbor(const nlmsghdr* message);
  KernelNeighbor read_neighbor(const NeighborKey& key);

  boost::asio::io_context& io_;
  NetlinkSocket& requests_;
  NetlinkSocket notifications_;
  boost::asio::posix::stream_descriptor descriptor_;  // of notifications_, which owns it
  NextHopTable table_;
  Dataplane::NextHopCallback callback_;

  std::deque<IpAddress> to_look_up_;
  std::unordered_set<IpAddress> queued_;     // what to_look_up_ holds
  std::unordered_set<NeighborKey> to_keep_;  // gone from the kernel's table, still needed
  std::vector<std::pair<IpAddress, unsigned>> moved_prefixes_;  // within one batch of notifications
  bool everything_moved_ = false;
  bool scheduled_ = false;
  // Kernels before 5.16 do not keep neighbours by themselves: then we ask again and again.
  bool kernel_keeps_ = true;
  boost::asio::steady_timer refresh_;
};

}  // namespace crab
