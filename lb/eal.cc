// SPDX-License-Identifier: Apache-2.0
#include "lb/eal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/capability.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>

namespace crab {

namespace {

// Written by whichever thread logs at level ERR, read by the main thread while it starts.
std::string last_error_line;  // NOLINT: DPDK's log is one per process, and so is this
// While the EAL starts, what it complains of is in the one line that we end with.
std::atomic<bool> starting{false};

spdlog::level::level_enum to_spdlog(int dpdk_level) {
  if (dpdk_level <= static_cast<int>(RTE_LOG_ERR)) return spdlog::level::err;
  if (dpdk_level == static_cast<int>(RTE_LOG_WARNING)) return spdlog::level::warn;
  // NOTICE and INFO tell how EAL is getting on, which is of use to who debugs it.
  return dpdk_level <= static_cast<int>(RTE_LOG_INFO) ? spdlog::level::debug : spdlog::level::trace;
}

ssize_t log_write(void*, const char* text, std::size_t length) {
  std::string_view line(text, length);
  while (line.ends_with('\n')) line.remove_suffix(1);
  if (line.empty()) return static_cast<ssize_t>(length);
  const int level = rte_log_cur_msg_loglevel();
  if (level <= static_cast<int>(RTE_LOG_ERR)) last_error_line = line;
  spdlog::log(starting ? spdlog::level::debug : to_spdlog(level), "dpdk: {}", line);
  return static_cast<ssize_t>(length);
}

std::FILE* log_stream() {
  cookie_io_functions_t functions{};
  functions.write = log_write;
  std::FILE* stream = fopencookie(nullptr, "w", functions);
  if (stream != nullptr) setlinebuf(stream);
  return stream;
}

bool has_capability(unsigned capability) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> data{};
  if (syscall(SYS_capget, &header, data.data()) != 0) return false;
  return ((data[capability / 32].effective >> (capability % 32)) & 1U) != 0;
}

void check_privileges(bool hugepages) {
  std::vector<std::string_view> missing;
  const auto need = [&missing](unsigned capability, std::string_view name) {
    if (!has_capability(capability)) missing.push_back(name);
  };
  need(CAP_NET_ADMIN, "CAP_NET_ADMIN");
  need(CAP_NET_RAW, "CAP_NET_RAW");
  need(CAP_IPC_LOCK, "CAP_IPC_LOCK");
  if (hugepages) need(CAP_SYS_ADMIN, "CAP_SYS_ADMIN");
  if (missing.empty()) return;
  throw StartupError(
      fmt::format("missing privileges {}: run crab-lb as root, or as a systemd service with "
                  "AmbientCapabilities={}",
                  fmt::join(missing, ", "), fmt::join(missing, " ")));
}

std::uint64_t free_hugepages() {
  std::uint64_t n_free = 0;
  std::error_code ignored;
  for (const auto& size :
       std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", ignored)) {
    std::uint64_t n = 0;
    if (std::ifstream(size.path() / "free_hugepages") >> n) n_free += n;
  }
  return n_free;
}

}  // namespace

std::vector<unsigned> allowed_cpus() {
  cpu_set_t set;
  std::vector<unsigned> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void check_machine(const v1::Dataplane& dataplane, std::span<const unsigned> cpus) {
  check_privileges(dataplane.hugepages());
  if (static_cast<unsigned>(dataplane.workers_size()) > kMainLcore) {
    throw StartupError(fmt::format("dataplane.workers: {} workers, but at most {} are possible",
                                   dataplane.workers_size(), kMainLcore));
  }
  for (const unsigned worker : dataplane.workers()) {
    if (std::ranges::find(cpus, worker) != cpus.end()) continue;
    if (std::filesystem::exists(fmt::format("/sys/devices/system/cpu/cpu{}", worker))) {
      throw StartupError(fmt::format(
          "dataplane.workers: this process may not run on CPU {}, only on {}: see `taskset -p {}` "
          "and the cgroup's cpuset",
          worker, fmt::join(cpus, ","), getpid()));
    }
    throw StartupError(fmt::format(
        "dataplane.workers: there is no CPU {} on this machine, which has {}: see `lscpu -e`",
        worker, fmt::join(cpus, ",")));
  }
  if (access("/dev/net/tun", R_OK | W_OK) != 0) {
    throw StartupError(
        "/dev/net/tun cannot be opened, so there can be no host interface: modprobe tun (in a "
        "container: --device=/dev/net/tun)");
  }
  if (dataplane.hugepages() && free_hugepages() == 0) {
    throw StartupError(
        "dataplane.hugepages: true, but no hugepage is free: echo 512 > "
        "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (or hugepages: false for a trial)");
  }
}

void check_pci_device(const std::string& address) {
  const std::filesystem::path device = "/sys/bus/pci/devices/" + address;
  std::error_code error;
  if (!std::filesystem::exists(device, error)) {
    throw StartupError(fmt::format(
        "pci: there is no PCI device {}: `dpdk-devbind.py --status-dev net` lists them", address));
  }
  const auto link = std::filesystem::read_symlink(device / "driver", error);
  const std::string driver = error ? "no driver" : link.filename().string();
  // The last four keep the kernel's driver and share the device with it.
  for (const char* usable :
       {"vfio-pci", "uio_pci_generic", "igb_uio", "mlx5_core", "mlx4_core", "mana", "hv_netvsc"}) {
    if (driver == usable) return;
  }
  throw StartupError(fmt::format(
      "pci: {} is bound to {}, which DPDK cannot use: dpdk-devbind.py --bind=vfio-pci {}", address,
      driver, address));
}

std::vector<std::string> eal_arguments(const v1::Config& config, std::span<const std::string> vdevs,
                                       std::span<const std::string> pci_addresses,
                                       std::span<const unsigned> cpus) {
  const v1::Dataplane& dataplane = config.dataplane();
  std::string lcores;
  for (int i = 0; i < dataplane.workers_size(); ++i) {
    lcores += fmt::format("{}@{},", i, dataplane.workers(i));
  }
  // The main lcore floats over all CPUs. Were it pinned, every thread that control starts later
  // would inherit one CPU, and be starved by a worker that polls on it.
  lcores += fmt::format("{}@({})", kMainLcore, fmt::join(cpus, ","));
  std::vector<std::string> arguments{"crab-lb", "--lcores=" + lcores,
                                     fmt::format("--main-lcore={}", kMainLcore)};

  // Nothing of ours is shared with other processes: several appliances run on one machine, each in
  // its network namespace, and none leaves files behind when it is killed.
  if (dataplane.hugepages()) {
    arguments.push_back("--in-memory");
    arguments.push_back(fmt::format("--file-prefix=crab-node{}", config.node()));
  } else {
    const auto mib = dataplane.memory_mib() == 0 ? kDefaultMemoryMib : dataplane.memory_mib();
    arguments.insert(arguments.end(),
                     {"--no-huge", "--no-shconf", "--no-telemetry", "-m", fmt::format("{}", mib)});
  }
  for (const std::string& vdev : vdevs) arguments.push_back("--vdev=" + vdev);
  if (pci_addresses.empty()) arguments.push_back("--no-pci");
  for (const std::string& address : pci_addresses) {
    arguments.insert(arguments.end(), {"-a", address});
  }
  return arguments;
}

Eal::Eal(std::vector<std::string> arguments) {
  if (std::FILE* stream = log_stream(); stream != nullptr) rte_openlog_stream(stream);
  if (spdlog::should_log(spdlog::level::trace)) {
    arguments.push_back("--log-level=debug");
  }
  spdlog::debug("EAL arguments: {}", fmt::join(arguments, " "));
  std::vector<char*> argv;
  argv.reserve(arguments.size());
  for (std::string& argument : arguments) argv.push_back(argument.data());
  rte_errno = 0;
  starting = true;
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    throw StartupError(fmt::format("DPDK does not start: {} ({}); --log-level debug shows more",
                                   last_error_line, rte_strerror(rte_errno)));
  }
  starting = false;
}

Eal::~Eal() { rte_eal_cleanup(); }

std::string Eal::last_error() { return std::exchange(last_error_line, {}); }

}  // namespace crab
