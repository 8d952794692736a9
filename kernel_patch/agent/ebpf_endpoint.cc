// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/ebpf_endpoint.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>

#include "crab.skel.h"
#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/bpf_failure.h"

namespace crab {
namespace {

constexpr char kSweepPin[] = "sweep";
constexpr char kSocketPin[] = "socket";
constexpr const char* kPins[] = {"services", "pending",  "flows",    "origins", "prefixes",
                                 "echoes",   "settings", "counters", kSweepPin};

UniqueFd open_cgroup(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd)
    throw AgentError(fmt::format("--cgroup {}: {}", path, std::generic_category().message(errno)));
  struct statfs info {};
  if (fstatfs(fd.get(), &info) != 0 || info.f_type != CGROUP2_SUPER_MAGIC) {
    throw AgentError(fmt::format(
        "--cgroup {}: not on a cgroup v2 hierarchy: mount -t cgroup2 none DIRECTORY makes one",
        path));
  }
  return fd;
}

// Whether the link is still that of this cgroup: it may have been removed, or another one be meant.
bool is_link_of(const bpf_link* link, const UniqueFd& cgroup) {
  bpf_link_info info{};
  __u32 size = sizeof info;
  struct stat directory {};
  return bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &size) == 0 &&
         fstat(cgroup.get(), &directory) == 0 && info.cgroup.cgroup_id == directory.st_ino;
}

void detach_sockets(const PinDirectory& directory) {
  if (!directory.has(kSocketPin)) return;
  bpf_link* link = bpf_link__open(directory.pin(kSocketPin).c_str());
  if (link != nullptr) {
    bpf_link__detach(link);
    bpf_link__destroy(link);
  }
  directory.unpin(kSocketPin);
}

// The program is pinned: no agent that has loaded it is needed.
void sweep(const PinDirectory& directory) {
  const UniqueFd program(bpf_obj_get(directory.pin(kSweepPin).c_str()));
  bpf_test_run_opts options{};
  options.sz = sizeof options;
  if (!program || bpf_prog_test_run_opts(program.get(), &options) != 0) {
    throw AgentError(fmt::format("cannot sweep: {}", std::generic_category().message(errno)));
  }
}

}  // namespace

std::string cgroup2_mount() {
  std::ifstream mounts("/proc/mounts");
  for (std::string device, path, type, rest;
       mounts >> device >> path >> type && std::getline(mounts, rest);) {
    if (type == "cgroup2") return path;
  }
  return "/sys/fs/cgroup";
}

std::vector<Interface> EbpfEndpoint::check(const EndpointOptions& options, const std::string& why) {
  if (options.interfaces.empty()) {
    throw AgentError(fmt::format("--interface is required with endpoint ebpf ({})", why));
  }
  if (options.roles & CRAB_ROLE_CLIENT) open_cgroup(options.cgroup);
  std::vector<Interface> interfaces;
  for (const std::string& name : options.interfaces) interfaces.push_back(find_interface(name));
  return interfaces;
}

EbpfEndpoint::EbpfEndpoint(const EndpointOptions& options, std::vector<Interface> interfaces,
                           PinDirectory directory)
    : options_(options),
      interfaces_(std::move(interfaces)),
      directory_(std::move(directory)),
      programs_(crab_bpf__open(), crab_bpf__destroy) {
  load();
  maps_ = std::make_unique<KernelMaps>(directory_);
}

void EbpfEndpoint::start(const EndpointConfig& config) {
  crab_settings settings = maps_->settings();
  settings.netns_cookie = current_netns_cookie();
  settings.learn_mac = options_.learn_next_hop ? 1 : 0;
  maps_->set_settings(settings);
  maps_->apply(config);

  const int ingress = bpf_program__fd(programs_->progs.crab_ingress);
  const int egress = bpf_program__fd(programs_->progs.crab_egress);
  for (const Interface& interface : interfaces_) attach_tc(interface, ingress, egress);
  for (const Interface& other : all_interfaces()) {
    const bool is_wanted = std::any_of(interfaces_.begin(), interfaces_.end(),
                                       [&](const Interface& i) { return i.index == other.index; });
    if (!is_wanted) detach_tc(other);
  }
  // Only the client's sockets route to virtual addresses.
  if (options_.roles & CRAB_ROLE_CLIENT) {
    attach_sockets();
    keeper_.emplace(*maps_, interfaces_);
  } else {
    detach_sockets(directory_);
  }
}

EbpfEndpoint::~EbpfEndpoint() = default;

void EbpfEndpoint::load() {
  if (!programs_) throw bpf_failure("cannot open the BPF programs", -errno);
  programs_->rodata->roles = options_.roles;
  programs_->rodata->netns_cookie = current_netns_cookie();
  bpf_map__set_max_entries(programs_->maps.flows, options_.max_flows);
  bpf_map__set_max_entries(programs_->maps.origins, options_.max_flows);
  bpf_map__set_max_entries(programs_->maps.pending, options_.max_pending);
  bpf_map__set_max_entries(programs_->maps.echoes, options_.max_echoes);
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, programs_->obj) {
    const std::string name = bpf_map__name(map);
    if (name.find('.') != std::string::npos || name == "scratches") continue;
    bpf_map__set_pin_path(map, directory_.pin(name).c_str());
  }
  forget_bpf_complaints();
  if (const int err = crab_bpf__load(programs_.get()); err != 0) {
    throw bpf_failure(err == -EINVAL ? "cannot load the BPF programs (if limits changed, "
                                       "`crab-agent remove` first)"
                                     : "cannot load the BPF programs",
                      err);
  }
  directory_.unpin(kSweepPin);
  if (const int err =
          bpf_program__pin(programs_->progs.crab_sweep, directory_.pin(kSweepPin).c_str());
      err != 0) {
    throw bpf_failure("cannot pin the sweep", err);
  }
}

void EbpfEndpoint::attach_sockets() const {
  const std::string& cgroup = options_.cgroup;
  const UniqueFd cgroup_fd = open_cgroup(cgroup);
  bpf_program* program = programs_->progs.crab_socket;
  bpf_link* link = nullptr;
  if (directory_.has(kSocketPin)) link = bpf_link__open(directory_.pin(kSocketPin).c_str());
  if (link != nullptr && is_link_of(link, cgroup_fd)) {
    const int err = bpf_link__update_program(link, program);
    bpf_link__destroy(link);
    if (err != 0) throw bpf_failure("cannot replace the sock_ops program", err);
    return;
  }
  // The new link first: two programs of ours on one socket write the offer once, because the
  // second finds its room taken or the option present.
  bpf_link* fresh = bpf_program__attach_cgroup(program, cgroup_fd.get());
  if (fresh == nullptr) throw bpf_failure(fmt::format("--cgroup {}", cgroup), -errno);
  if (link != nullptr) bpf_link__destroy(link);
  detach_sockets(directory_);
  const int err = bpf_link__pin(fresh, directory_.pin(kSocketPin).c_str());
  bpf_link__destroy(fresh);
  if (err != 0) throw bpf_failure("cannot pin the link to the cgroup", err);
}

void EbpfEndpoint::maintain() { sweep(directory_); }

EndpointReport InstalledEbpf::report(bool with_flows) const {
  EndpointReport report;
  for (const Interface& interface : all_interfaces()) {
    if (is_attached(interface)) report.interfaces.push_back(interface.name);
  }
  report.offers = directory_.has(kSocketPin);
  report.services = maps_.services();
  report.prefixes = maps_.prefixes();
  report.flows = maps_.flow_totals();
  report.n_pending = maps_.n_pending();
  report.n_echoes = maps_.n_echoes();
  report.counters = maps_.counters();
  if (with_flows) {
    maps_.for_each_flow([&report](const crab_tuple& tuple, const crab_flow& flow) {
      report.flow_list.emplace_back(tuple, flow);
      return true;
    });
  }
  return report;
}

Unfinished InstalledEbpf::unfinished() {
  sweep(directory_);
  const EndpointReport::Flows flows = maps_.flow_totals();
  return {.n_connections = flows.n_open + flows.n_closing, .n_handshakes = maps_.n_pending()};
}

bool InstalledEbpf::is_whole(const PinDirectory& directory) {
  return std::all_of(std::begin(kPins), std::end(kPins),
                     [&directory](const char* name) { return directory.has(name); });
}

void InstalledEbpf::remove_all(const PinDirectory& directory) {
  detach_sockets(directory);
  for (const Interface& interface : all_interfaces()) detach_tc(interface);
  for (const char* name : kPins) directory.unpin(name);
}

}  // namespace crab
