// SPDX-License-Identifier: Apache-2.0
// The pin directory: where the endpoint's maps, its sweep and its cgroup link outlive the agent. An
// endpoint in the kernel keeps its own configuration and needs but a few of them.
//
//   PIN_DIR/            locked by the one agent that may change it
//   PIN_DIR/v2/         named after CRAB_LAYOUT_VERSION
//     endpoint          map: what kind of endpoint this is
//     sessions          map: with the nodes
//     services pending flows origins prefixes echoes settings counters   maps, eBPF endpoint
//     sweep             the program that removes what has expired, eBPF endpoint
//     socket            the link of the sock_ops program to its cgroup, eBPF endpoint
//     load_backends loads load_settings   maps, only with the server role
//     load              the link of the program that counts connections
//     accepted_bases    map, server role with an endpoint in the kernel
#pragma once

#include <string>

#include "kernel_patch/agent/unique_fd.h"

namespace crab {

class PinDirectory {
 public:
  // Mounts bpffs on /sys/fs/bpf if path is below it and nothing is mounted there, makes the
  // directories and takes the lock. Throws AgentError: no bpffs there, another agent has the lock,
  // or maps of another layout are in it.
  static PinDirectory claim(const std::string& path);
  // Of an endpoint that is installed, without a lock. Throws AgentError if there is none.
  static PinDirectory of_installed(const std::string& path);
  // Whatever is there, if anything; without a lock.
  static PinDirectory unclaimed(const std::string& path) { return {path, UniqueFd()}; }

  // Of a map, program or link in it.
  std::string pin(const std::string& name) const { return versioned_ + "/" + name; }
  bool has(const std::string& name) const;
  // Removes a pin; none is no error.
  void unpin(const std::string& name) const;
  // Removes every pin and the directory of this layout.
  void clear() const;

 private:
  PinDirectory(const std::string& path, UniqueFd lock);

  std::string path_;
  std::string versioned_;
  UniqueFd lock_;
};

}  // namespace crab
