// SPDX-License-Identifier: Apache-2.0
// DPDK's environment: its arguments out of our configuration, what must be there before it is
// started, and its log in ours. Main thread only.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "crab/v1/config.pb.h"

namespace crab {

// Why crab-lb cannot start: one line that says what is missing and the command that mends it.
class StartupError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

inline constexpr std::uint32_t kDefaultMemoryMib = 256;
// Worker i is lcore i; the last one is the main thread's.
inline constexpr unsigned kMainLcore = 127;

// CPUs that this process may run on: neither taskset nor a cgroup forbids them.
std::vector<unsigned> allowed_cpus();

// What crab-lb needs of the machine whatever its ports are: privileges, CPUs, hugepages,
// /dev/net/tun. Throws StartupError.
void check_machine(const v1::Dataplane& dataplane, std::span<const unsigned> cpus);

// Throws StartupError unless a DPDK driver can take the device: it exists and is bound to one of
// the kernel's pass-through drivers, or its own works beside the kernel.
void check_pci_device(const std::string& address);

// argv of rte_eal_init. `vdevs` are complete: name and arguments.
std::vector<std::string> eal_arguments(const v1::Config& config, std::span<const std::string> vdevs,
                                       std::span<const std::string> pci_addresses,
                                       std::span<const unsigned> cpus);

class Eal {
 public:
  // Throws StartupError. From here on DPDK logs through spdlog.
  explicit Eal(std::vector<std::string> arguments);
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  // DPDK's last complaint, for the message of whoever meets a failure; may be empty.
  static std::string last_error();
};

}  // namespace crab
