// SPDX-License-Identifier: Apache-2.0
// The tc programs' place: clsact, both ways, at a fixed preference and handle, so that a new
// program replaces the old one in one step and what is ours can be told from what is not.
#pragma once

#include <string>
#include <vector>

namespace crab {

inline constexpr unsigned kTcPreference = 100;
inline constexpr unsigned kTcHandle = 0xC4AB;

struct Interface {
  std::string name;
  unsigned index = 0;
  bool is_up = false;  // administratively, and with carrier; find_interface() fills it
};

// Throws AgentError if there is no such interface here or it is not Ethernet.
Interface find_interface(const std::string& name);
std::vector<Interface> all_interfaces();

// Attaches or replaces, ingress before egress. Throws AgentError, among others when another
// program has our preference and handle.
void attach_tc(const Interface& interface, int ingress_fd, int egress_fd);
// Both ways, in reverse; only programs of ours. The clsact qdisc stays: others may use it.
void detach_tc(const Interface& interface);
bool is_attached(const Interface& interface);

}  // namespace crab
