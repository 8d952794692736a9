// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/tc_attachment.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/unique_fd.h"

namespace crab {
namespace {

bpf_tc_hook hook_of(const Interface& interface, int attach_point) {
  bpf_tc_hook hook{};
  hook.sz = sizeof hook;
  hook.ifindex = static_cast<int>(interface.index);
  hook.attach_point = static_cast<bpf_tc_attach_point>(attach_point);
  return hook;
}

bpf_tc_opts our_place() {
  bpf_tc_opts opts{};
  opts.sz = sizeof opts;
  opts.handle = kTcHandle;
  opts.priority = kTcPreference;
  return opts;
}

// The name of the program at our place, empty if there is none.
std::string program_at(const Interface& interface, bpf_tc_attach_point point) {
  bpf_tc_hook hook = hook_of(interface, point);
  bpf_tc_opts opts = our_place();
  if (bpf_tc_query(&hook, &opts) != 0) return {};
  const UniqueFd program(bpf_prog_get_fd_by_id(opts.prog_id));
  bpf_prog_info info{};
  __u32 size = sizeof info;
  if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &size) != 0) return "?";
  return info.name;
}

void attach_one(const Interface& interface, bpf_tc_attach_point point, int program_fd,
                std::string_view our_name) {
  const std::string there = program_at(interface, point);
  if (!there.empty() && there != our_name) {
    throw AgentError(fmt::format(
        "{}: another program, {}, has tc preference {} handle {:#x}: remove it with tc filter del",
        interface.name, there, kTcPreference, kTcHandle));
  }
  bpf_tc_hook hook = hook_of(interface, point);
  bpf_tc_opts opts = our_place();
  opts.prog_fd = program_fd;
  opts.flags = BPF_TC_F_REPLACE;
  if (const int err = bpf_tc_attach(&hook, &opts); err != 0) {
    throw AgentError(
        fmt::format("{}: cannot attach {}: {}", interface.name, our_name, std::strerror(-err)));
  }
}

constexpr char kIngress[] = "crab_ingress";
constexpr char kEgress[] = "crab_egress";

}  // namespace

Interface find_interface(const std::string& name) {
  Interface found{name, if_nametoindex(name.c_str())};
  if (found.index == 0) {
    std::vector<std::string> names;
    for (const Interface& other : all_interfaces()) names.push_back(other.name);
    throw AgentError(
        fmt::format("--interface {}: no such interface in this network namespace; "
                    "there are {}",
                    name, fmt::join(names, ", ")));
  }
  ifreq request{};
  std::strncpy(request.ifr_name, name.c_str(), sizeof request.ifr_name - 1);
  const UniqueFd socket_fd(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (ioctl(socket_fd.get(), SIOCGIFHWADDR, &request) != 0 ||
      request.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
    throw AgentError(fmt::format("--interface {}: not an Ethernet interface", name));
  }
  if (ioctl(socket_fd.get(), SIOCGIFFLAGS, &request) == 0) {
    found.is_up = (request.ifr_flags & IFF_UP) != 0 && (request.ifr_flags & IFF_RUNNING) != 0;
  }
  return found;
}

std::vector<Interface> all_interfaces() {
  std::vector<Interface> result;
  struct if_nameindex* list = if_nameindex();
  for (auto* entry = list; entry != nullptr && entry->if_index != 0; ++entry) {
    result.push_back({entry->if_name, entry->if_index});
  }
  if (list != nullptr) if_freenameindex(list);
  return result;
}

void attach_tc(const Interface& interface, int ingress_fd, int egress_fd) {
  bpf_tc_hook clsact = hook_of(interface, BPF_TC_INGRESS | BPF_TC_EGRESS);
  if (const int err = bpf_tc_hook_create(&clsact); err != 0 && err != -EEXIST) {
    throw AgentError(
        fmt::format("{}: cannot add a clsact qdisc: {}", interface.name, std::strerror(-err)));
  }
  attach_one(interface, BPF_TC_INGRESS, ingress_fd, kIngress);
  attach_one(interface, BPF_TC_EGRESS, egress_fd, kEgress);
}

void detach_tc(const Interface& interface) {
  bpf_tc_opts opts = our_place();
  bpf_tc_hook egress = hook_of(interface, BPF_TC_EGRESS);
  bpf_tc_hook ingress = hook_of(interface, BPF_TC_INGRESS);
  if (program_at(interface, BPF_TC_EGRESS) == kEgress) bpf_tc_detach(&egress, &opts);
  if (program_at(interface, BPF_TC_INGRESS) == kIngress) bpf_tc_detach(&ingress, &opts);
}

bool is_attached(const Interface& interface) {
  return program_at(interface, BPF_TC_INGRESS) == kIngress &&
         program_at(interface, BPF_TC_EGRESS) == kEgress;
}

}  // namespace crab
