// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/doctor.h"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <string_view>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/endpoint_choice.h"
#include "kernel_patch/agent/endpoint_record.h"
#include "kernel_patch/agent/mapped_address.h"
#include "kernel_patch/agent/route.h"
#include "kernel_patch/agent/tc_attachment.h"

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
    read_file();
    endpoint();
    kernel();
    mounts();
    interfaces();
    services();
    if (kind_ != EndpointKind::Ebpf) connection_tracking();
    installation();
    return std::move(findings_);
  }

 private:
  void note(bool ok, std::string text, std::string remedy) {
    using Level = Finding::Level;
    findings_.push_back(
        {ok ? Level::Ok : Level::Fail, std::move(text), ok ? std::string() : std::move(remedy)});
  }

  void hint(std::string text, std::string remedy) {
    findings_.push_back({Finding::Level::Hint, std::move(text), std::move(remedy)});
  }

  void privileges() { note(geteuid() == 0, "root", "run crab-agent with sudo"); }

  void read_file() {
    if (options_.config_path.empty()) return;
    try {
      config_ = load_endpoint_config(options_.config_path);
      note(!config_->services.empty() || !is_client(),
           fmt::format("{}: {} services", options_.config_path, config_->services.size()),
           "add the services to offer to");
    } catch (const AgentError& error) {
      note(false, error.what(), "mend the file");
    }
  }

  // Which one `run` would choose here; one that is installed and translates may keep it from that.
  void endpoint() {
    const EndpointChoice asked =
        options_.endpoint.choice.value_or(config_ ? config_->choice : EndpointChoice::Auto);
    const KernelSupport support = find_kernel_support();
    try {
      const ChosenEndpoint chosen = choose_endpoint(asked, support, {});
      kind_ = chosen.kind;
      note(true, fmt::format("endpoint {}: {}", name_of(kind_), chosen.why), "");
    } catch (const AgentError& error) {
      kind_ = asked == EndpointChoice::Kernel ? EndpointKind::Kernel : EndpointKind::Netfilter;
      note(false, error.what(), "or use --endpoint auto");
    }
  }

  void kernel() {
    utsname name{};
    uname(&name);
    int major = 0, minor = 0;
    std::sscanf(name.release, "%d.%d", &major, &minor);
    note(major > 6 || (major == 6 && minor >= 1), fmt::format("Linux {}", name.release),
         "use Linux 6.1 or later");
    if (is_server()) {
      note(std::filesystem::exists("/sys/kernel/btf/vmlinux"), "the kernel's BTF",
           "use a kernel with CONFIG_DEBUG_INFO_BTF, to count connections");
    }
    if (kind_ != EndpointKind::Ebpf) return;
    probe(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_redirect_neigh, "tc programs with bpf_redirect_neigh");
    probe(BPF_PROG_TYPE_SCHED_CLS, BPF_FUNC_loop, "bpf_loop");
    if (is_client()) {
      probe(BPF_PROG_TYPE_SOCK_OPS, BPF_FUNC_reserve_hdr_opt,
            "sock_ops programs that write options");
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
    if (!is_client() || kind_ != EndpointKind::Ebpf) return;
    note(has_type(options_.endpoint.cgroup, CGROUP2_SUPER_MAGIC),
         fmt::format("cgroup v2 at {}", options_.endpoint.cgroup),
         "name a directory of a cgroup v2 hierarchy with --cgroup; findmnt -t cgroup2 shows where "
         "there is one");
  }

  void interfaces() {
    if (kind_ == EndpointKind::Ebpf && options_.endpoint.interfaces.empty()) {
      note(false, "no --interface", "the eBPF endpoint works where the service's packets pass");
    }
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
    if (!config_ || !is_client()) return;
    NetlinkSocket socket;
    for (const auto& [key, terms] : config_->services) routing(&socket, from_mapped(key.vip));
  }

  void routing(NetlinkSocket* socket, const IpAddress& service) {
    const std::string name = service.to_string();
    const auto route = route_to(*socket, service);
    note(route.has_value(), fmt::format("route to {}", name),
         fmt::format("add one: ip route add {} via the appliance", name));
    if (!route) return;
    note(!route->is_local, fmt::format("{} is no address of this host", name),
         fmt::format("ip address del {}: the client would connect to itself", name));
    if (service.is_v4() && kind_ == EndpointKind::Ebpf) reverse_path(name, *route);
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

  // A SYN goes to one address and its SYN-ACK comes from another: conntrack calls that invalid.
  void connection_tracking() {
    if (!is_client() || read_number("/proc/sys/net/netfilter/nf_conntrack_count", -1) < 0) return;
    hint(
        "connection tracking is there, and takes a redirected SYN-ACK for invalid: a firewall that "
        "drops such packets on input stops redirects",
        "if this host's does, let in what has the option before that rule: nft insert rule inet "
        "filter input tcp option 253 exists accept");
    note(read_number("/proc/sys/net/netfilter/nf_conntrack_tcp_loose", 1) != 0,
         "connection tracking picks up connections whose SYN it has not seen",
         "sysctl -w net.netfilter.nf_conntrack_tcp_loose=1: otherwise redirected connections stay "
         "invalid to it");
  }

  void installation() {
    try {
      const PinDirectory directory = PinDirectory::of_installed(options_.endpoint.pin_directory);
      const std::unique_ptr<InstalledEndpoint> installed = find_installed(directory);
      const auto record = read_record(directory);
      note(!record || record->kind == kind_,
           fmt::format("{} is installed", name_of(record ? record->kind : kind_)),
           "start crab-agent run again: it changes to the endpoint above once no connection needs "
           "the old one");
      if (!record || record->kind == EndpointKind::Ebpf) {
        attached_programs();
      } else {
        roles_in_force(record->roles);
      }
      for (Finding& finding : judge_counters(installed->counters())) {
        findings_.push_back(std::move(finding));
      }
    } catch (const AgentError& error) {
      note(false, error.what(), "start crab-agent run");
    }
  }

  void attached_programs() {
    for (const Interface& interface : found_) {
      note(is_attached(interface), fmt::format("programs on {}", interface.name),
           "crab-agent run attaches them");
    }
  }

  void roles_in_force(unsigned wanted) {
    const int in_force = read_number("/proc/sys/net/ipv4/tcp_redirect", -1);
    note(in_force == static_cast<int>(wanted), fmt::format("net.ipv4.tcp_redirect={}", in_force),
         fmt::format("it should be {}: start crab-agent run again, or sysctl -w "
                     "net.ipv4.tcp_redirect={}",
                     wanted, wanted));
  }

  bool is_server() const { return (options_.endpoint.roles & CRAB_ROLE_SERVER) != 0; }
  bool is_client() const { return (options_.endpoint.roles & CRAB_ROLE_CLIENT) != 0; }

  const DoctorOptions& options_;
  std::optional<EndpointConfig> config_;
  EndpointKind kind_ = EndpointKind::Ebpf;
  std::vector<Interface> found_;
  std::vector<Finding> findings_;
};

struct Suspicion {
  std::string_view counter;
  const char* remedy;
};

// By name: the endpoints' lists differ, and mean the same where they have the same name.
constexpr Suspicion kSuspicions[] = {
    {"missing_echo", "run crab-agent with the server role on every backend"},
    {"established_without_redirect",
     "the virtual address accepts connections itself: is it an address of another host?"},
    {"reject_tag", "give this host the keys that the appliance has"},
    {"reject_prefix", "add the backends' network to agent.allowed_prefixes"},
    {"reject_form", "give this host the configuration that the appliance has"},
    {"reject_conflict",
     "connections of one port to two services met at one backend; wider "
     "net.ipv4.ip_local_port_range makes it rare"},
    {"reject_no_route", "add a route to the backends' network"},
    {"reject_checksum", "something on the way changes packets and not their checksums"},
    {"reject_busy", "more SYN-ACKs at once than the module defers; they are repeated"},
    {"reject_map_full", "raise --max-flows (crab-agent remove first)"},
    {"offer_map_full",
     "raise --max-pending (crab-agent remove first), or the module's own limit of unanswered "
     "SYNs"},
    {"offer_no_space", "the SYN's options are full: Fast Open cookies or MPTCP leave no room"},
    {"offer_failed", "the kernel is short of memory"},
    {"echo_no_space", "the SYN-ACK's options are full: MPTCP with a keyed service?"},
    {"echo_failed", "the kernel is short of memory"},
    {"server_full", "more handshakes under way than the table holds: a SYN flood?"},
    {"translate_failed", "report it, with the kernel's version"},
};

}  // namespace

std::vector<Finding> judge_counters(const std::vector<CounterReading>& counters) {
  std::vector<Finding> findings;
  for (const CounterReading& counter : counters) {
    const auto suspicion =
        std::find_if(std::begin(kSuspicions), std::end(kSuspicions),
                     [&counter](const Suspicion& s) { return s.counter == counter.name; });
    if (counter.value == 0 || suspicion == std::end(kSuspicions)) continue;
    findings.push_back({Finding::Level::Fail,
                        fmt::format("{} {}: {}", counter.value, counter.name, counter.meaning),
                        suspicion->remedy});
  }
  return findings;
}

std::vector<Finding> examine(const DoctorOptions& options) { return Examination(options).run(); }

std::string findings_text(const std::vector<Finding>& findings) {
  std::string text;
  const auto out = std::back_inserter(text);
  for (const Finding& finding : findings) {
    const bool is_ok = finding.level == Finding::Level::Ok;
    const char* level = is_ok ? "ok" : finding.level == Finding::Level::Hint ? "hint" : "FAIL";
    fmt::format_to(out, "{:<6}{}{}{}\n", level, finding.text, is_ok ? "" : "; ", finding.remedy);
  }
  return text;
}

}  // namespace crab
