// SPDX-License-Identifier: Apache-2.0
// The datapath as control sees it: ports, workers, the host path and the next hops, put together
// out of the configuration and taken apart in reverse. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <vector>

#include "control/dataplane.h"
#include "crab/v1/config.pb.h"
#include "lb/eal.h"
#include "lb/eligibility_log.h"
#include "lb/host_interface.h"
#include "lb/host_path.h"
#include "lb/kernel_side.h"
#include "lb/neighbor.h"
#include "lb/netlink.h"
#include "lb/port.h"

namespace crab {

class Worker;

class DpdkDataplane final : public Dataplane {
 public:
  // Returns with the workers running on a snapshot without services. Preconditions: the
  // configuration is valid, and check_machine() accepts it. Throws StartupError, with everything
  // undone.
  DpdkDataplane(const v1::Config& config, boost::asio::io_context& io);
  // Ends the workers, then undoes everything. A worker that does not end within five seconds ends
  // the process, with exit status 1.
  ~DpdkDataplane() override;

  PublishOutcome publish(const SnapshotSpec& spec) override;
  void loads_changed(std::span<const std::uint32_t> load_slots) override;
  void all_loads_changed() override;
  std::string policy_rule(std::uint32_t service_id) const override;
  std::optional<ExplainedChoice> explain(std::uint32_t service_id,
                                         const FlowTuple& flow) const override;
  void resolve(const std::vector<IpAddress>& backend_addresses) override;
  void on_next_hop(NextHopCallback callback) override;
  void set_virtual_addresses(const std::vector<VirtualAddress>& addresses) override;
  bool is_own_address(const IpAddress& address) const override;
  unsigned n_workers() const override { return static_cast<unsigned>(counters_.size()); }
  const WorkerCounters& counters(unsigned worker) const override { return *counters_[worker]; }

  EdgeTotals edge_totals() const override;

 private:
  void open_ports(const v1::Dataplane& dataplane);
  void open_host_interface(const Port& port, const v1::Port& configured);
  void start_workers(const v1::Dataplane& dataplane);
  void stop_workers();
  void follow_links();

  // In the order of construction; destroyed in reverse.
  NetlinkSocket netlink_;
  std::vector<PortPlan> plans_;
  std::vector<std::unique_ptr<KernelSide>> kernel_sides_;
  std::unique_ptr<Eal> eal_;
  std::vector<std::unique_ptr<Port>> ports_;
  mutable std::mutex port_statistics_;  // drivers add up what the kernel hands over only once
  std::unique_ptr<Publisher> publisher_;
  std::vector<std::unique_ptr<WorkerCounters>> counters_;
  std::vector<InterfaceAddress> own_addresses_;
  std::vector<std::unique_ptr<HostInterface>> host_interfaces_;  // of ports_, in the same order
  HostPath host_path_;
  std::unique_ptr<VirtualAddresses> virtual_addresses_;
  std::unique_ptr<NeighborFollower> neighbors_;
  std::vector<bool> link_was_up_;  // of ports_
  boost::asio::steady_timer link_timer_;
  EligibilityLog eligibility_log_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace crab
