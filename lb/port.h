// SPDX-License-Identifier: Apache-2.0
// One port: a DPDK device with a receive and a transmit queue for each worker. Made and destroyed
// by the main thread; its queues belong to the workers while they run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "crab/v1/config.pb.h"
#include "lb/address.h"
#include "lb/kernel_side.h"

struct rte_mempool;

namespace crab {

inline constexpr std::uint16_t kDefaultMtu = 1500;

// What the configuration says of a port, with every default filled in.
struct PortPlan {
  std::string device;            // DPDK's name: net_af_packet0, or a PCI address
  std::string driver;            // net_af_packet; empty for PCI
  std::string vdev;              // name and complete arguments; empty for PCI
  std::string kernel_interface;  // whose frames net_af_packet takes; else empty
  std::string host_interface;    // the TAP's name
  std::uint16_t mtu = kDefaultMtu;
  bool complete_checksums = false;

  bool is_pci() const { return vdev.empty(); }
  // Packets that wait in either direction of the host path.
  unsigned host_ring_entries() const { return kernel_interface.empty() ? 1024 : 256; }
};

// Throws StartupError on a device string that no driver would understand.
PortPlan plan_port(const v1::Port& port, unsigned index, unsigned n_workers);

class Port {
 public:
  // Configures the device and starts it. Preconditions: the EAL runs and has probed the device.
  // Throws StartupError.
  Port(PortPlan plan, unsigned n_workers);
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  const PortPlan& plan() const { return plan_; }
  std::uint16_t id() const { return id_; }
  const MacAddress& mac() const { return mac_; }
  // Buffers of its receive queues, and of what Linux sends through it. Any thread.
  rte_mempool* buffers() const { return buffers_; }
  bool link_is_up() const;
  // The device's own count of frames it had no room or buffer for; counted before crab-lb sees
  // them.
  std::uint64_t n_missed() const;

 private:
  void make_buffers(unsigned n_workers);
  void configure(unsigned n_workers);

  PortPlan plan_;
  std::uint16_t id_ = 0;
  MacAddress mac_{};
  rte_mempool* buffers_ = nullptr;
};

}  // namespace crab
