// SPDX-License-Identifier: Apache-2.0
// The program that counts connections, kernel_patch/bpf/load.bpf.c: loading it, taking over from
// one before, taking it away. It goes on counting without an agent, so that counts have no gap.
#pragma once

#include <memory>

#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/load_maps.h"

struct load_bpf;  // the generated skeleton

namespace crab {

class LoadCounting {
 public:
  // The namespace's cookie is current_netns_cookie(). With the eBPF endpoint, the program finds the
  // nodes in the map of echoes, which is pinned already; otherwise AcceptedNodes asks the kernel.
  // Throws AgentError.
  LoadCounting(const PinDirectory& directory, std::uint64_t netns_cookie, bool has_echoes);
  ~LoadCounting();

  LoadMaps& maps() const { return *maps_; }
  // Of crab_load_event; one reader.
  int events_fd() const;

  // Ends counting and forgets the counts.
  static void remove(const PinDirectory& directory);

 private:
  void load(const PinDirectory& directory, std::uint64_t netns_cookie, bool has_echoes);
  void attach(const PinDirectory& directory) const;

  std::unique_ptr<load_bpf, void (*)(load_bpf*)> program_;
  std::unique_ptr<LoadMaps> maps_;
};

}  // namespace crab
