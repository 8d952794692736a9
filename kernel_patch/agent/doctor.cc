// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/doctor.h"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/route.h"

namespace crab {
namespace {

int read_number(const std::string& path, int otherwise) {
  int value = otherwise;
  std::ifstream(path) >> value;
  return value;
}

bool has_type(const std::string& path, long type) {
  struct statfs info {};
  return statfs(path.c_str(), &info) == 0 && info.f_type == type;
}

class Examination {
 public:
  explicit Examination(const DoctorOptions& options) : options_(options) {}

  std::vector<Finding> run() {
    libbpf_set_print(nullptr);
    privileges();
    kernel();
    mounts();
    interfaces();
    services();
    installation();
    return std::move(findings_);
  }

 private:
  void note(bool ok, std::string text, std::string remedy) {
    findings_.push_back({ok, std::move(text), ok ? std::string() : std::move(remedy)});
  }

  void privileges() { note(geteuid() == 0, "root", "run crab-agent with sudo"); }

  void kernel() {
    utsname name{};
    uname(&name);
    int major = 0, minor = 0;
    std::sscanf(name.release, "%d.%d", &major, &minor);
    note(major > 6 || (major == 6 && minor >= 1), fmt::format("Linux {}", name.release),
         "use Linux 6.1 or later");
    probe(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh, "tc programs with bpf_redirect_neigh");
    probe(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_loop, "bpf_loop");
    if (is_client()) {
      probe(BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_reserve_hdr_opt,
            "sock_ops programs that write options");
    }
    if (is_server()) {
      note(std::filesystem::exists("/sys/kernel/btf/vmlinux"), "the kernel's BTF",
           "use a kernel with CONFIG_DEBUG_INFO_BTF, to count connections");
    }
    note(read_number("/proc/sys/net/core/bpf_jit_enable", 1) != 0, "BPF JIT",
         "sysctl -w net.core.bpf_jit_enable=1: without it every packet is interpreted");
  }

  void probe(bpf_prog_type type, bpf_func_id helper, const char* what) {
    note(libbpf_probe_bpf_helper(type, helper, nullptr) == 1, what,
         "run as root; if you do, use a kernel with CONFIG_BPF_SYSCALL, CONFIG_NET_CLS_BPF and "
         "CONFIG_CGROUP_BPF");
  }

  void mounts() {
    const std::string& pins = options_.endpoint.pin_directory;
    note(has_type(std::filesystem::exists(pins) ? pins : "/sys/fs/bpf", BPF_FS_MAGIC),
         fmt::format("bpffs for {}", pins), "mount -t bpf bpf /sys/fs/bpf");
    if (!is_client()) return;
    note(has_type(options_.endpoint.cgroup, CGROUP2_SUPER_MAGIC),
         fmt::format("cgroup v2 at {}", options_.endpoint.cgroup),
         "name a directory of a cgroup v2 hierarchy with --cgroup; findmnt -t cgroup2 shows where "
         "there is one");
  }

  void interfaces() {
    for (const std::string& name : options_.endpoint.interfaces) {
      try {
        found_.push_back(find_interface(name));
        note(found_.back().is_up, fmt::format("interface {} up, with carrier", name),
             fmt::format("ip link set {} up, and look at its link", name));
      } catch (const AgentError& error) {
        note(false, error.what(), "name the interface that the service's packets pass");
      }
    }
  }

  void services() {
    if (options_.config_path.empty()) return;
    try {
      const EndpointConfig config = load_endpoint_config(options_.config_path);
      note(!config.services.empty() || !is_client(),
           fmt::format("{}: {} services", options_.config_path, config.services.size()),
           "add the services to offer to");
      if (!is_client()) return;
      NetlinkSocket socket;
      for (const auto& [key, terms] : config.services) routing(&socket, from_mapped(key.vip));
    } catch (const AgentError& error) {
      note(false, error.what(), "mend the file");
    }
  }

  void routing(NetlinkSocket* socket, const IpAddress& service) {
    const std::string name = service.to_string();
    const auto route = route_to(*socket, service);
    note(route.has_value(), fmt::format("route to {}", name),
         fmt::format("add one: ip route add {} via the appliance", name));
    if (!route) return;
    note(!route->is_local, fmt::format("{} is no address of this host", name),
         fmt::format("ip address del {}: the client would connect to itself", name));
    if (service.is_v4()) reverse_path(name, *route);
  }

  // Translated packets come from the virtual address by the backends' interface; strict reverse
  // path filtering (RFC 3704) drops them there if that address routes by another one.
  void reverse_path(const std::string& name, const RouteTo& route) {
    const int all = read_number("/proc/sys/net/ipv4/conf/all/rp_filter", 0);
    for (const Interface& interface : found_) {
      if (interface.index == route.interface_index) continue;
      const std::string path = "/proc/sys/net/ipv4/conf/" + interface.name + "/rp_filter";
      note(std::max(all, read_number(path, 0)) != 1,
           fmt::format("{}: reverse path filter for {}, which routes elsewhere", interface.name,
                       name),
           fmt::format("sysctl -w net.ipv4.conf.{}.rp_filter=2 (loose)", interface.name));
    }
  }

  void installation() {
    try {
      const PinDirectory directory = PinDirectory::of_installed(options_.endpoint.pin_directory);
      for (const Interface& interface : found_) {
        note(is_attached(interface), fmt::format("programs on {}", interface.name),
             "crab-agent run attaches them");
      }
      for (Finding& finding : judge_counters(KernelMaps(directory).counters())) {
        findings_.push_back(std::move(finding));
      }
    } catch (const AgentError& error) {
      note(false, error.what(), "start crab-agent run");
    }
  }

  bool is_server() const { return (options_.endpoint.roles & CRAB_ROLE_SERVER) != 0; }
  bool is_client() const { return (options_.endpoint.roles & CRAB_ROLE_CLIENT) != 0; }

  const DoctorOptions& options_;
  std::vector<Interface> found_;
  std::vector<Finding> findings_;
};

struct Suspicion {
  crab_counter counter;
  const char* remedy;
};

constexpr Suspicion kSuspicions[] = {
    {CRAB_COUNT_missing_echo, "run crab-agent with the server role on every backend"},
    {CRAB_COUNT_established_without_redirect,
     "the virtual address accepts connections itself: is it an address of another host?"},
    {CRAB_COUNT_reject_tag, "give this host the keys that the appliance has"},
    {CRAB_COUNT_reject_prefix, "add the backends' network to agent.allowed_prefixes"},
    {CRAB_COUNT_reject_form, "give this host the configuration that the appliance has"},
    {CRAB_COUNT_reject_map_full, "raise --max-flows (crab-agent remove first)"},
    {CRAB_COUNT_offer_map_full, "raise --max-pending (crab-agent remove first)"},
    {CRAB_COUNT_offer_no_space,
     "the SYN's options are full: Fast Open cookies or MPTCP leave no room"},
    {CRAB_COUNT_echo_no_space, "the SYN-ACK's options are full: MPTCP with a keyed service?"},
    {CRAB_COUNT_translate_failed, "report it, with the kernel's version"},
};

}  // namespace

std::vector<Finding> judge_counters(const Counters& counters) {
  std::vector<Finding> findings;
  for (const Suspicion& suspicion : kSuspicions) {
    const std::uint64_t n = counters[suspicion.counter];
    if (n == 0) continue;
    const CounterDescription& description = kCounterDescriptions[suspicion.counter];
    findings.push_back({false, fmt::format("{} {}: {}", n, description.name, description.meaning),
                        suspicion.remedy});
  }
  return findings;
}

std::vector<Finding> examine(const DoctorOptions& options) { return Examination(options).run(); }

std::string findings_text(const std::vector<Finding>& findings) {
  std::string text;
  const auto out = std::back_inserter(text);
  for (const Finding& finding : findings) {
    if (finding.ok) {
      fmt::format_to(out, "ok    {}\n", finding.text);
    } else {
      fmt::format_to(out, "FAIL  {}; {}\n", finding.text, finding.remedy);
    }
  }
  return text;
}

}  // namespace crab
