// SPDX-License-Identifier: Apache-2.0
// The eBPF endpoint's maps, typed. Works on pinned maps, so it serves the agent that runs and the
// commands that only look. Single-threaded, like the whole agent; the BPF programs work on the same
// maps meanwhile.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernel_patch/agent/bpffs.h"
#include "kernel_patch/agent/endpoint.h"
#include "kernel_patch/bpf/counters.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {

class KernelMaps {
 public:
  // Opens what is pinned. Throws AgentError.
  explicit KernelMaps(const PinDirectory& directory);

  // Makes services and prefixes equal the configuration, in an order that at no moment allows what
  // neither the old nor the new one does. Connections that exist are not touched.
  void apply(const EndpointConfig& config) const;
  // No more offers.
  void clear_services() const;

  crab_settings settings() const;
  void set_settings(const crab_settings& settings) const;

  std::vector<std::pair<crab_service_key, crab_service>> services() const;
  std::vector<crab_prefix> prefixes() const;
  std::vector<CounterReading> counters() const;  // sums over CPUs
  EndpointReport::Flows flow_totals() const;
  std::uint64_t n_pending() const;
  std::uint64_t n_echoes() const;
  // Until visit returns false. An entry that comes or goes meanwhile may be missed or seen twice.
  void for_each_flow(const std::function<bool(const crab_tuple&, const crab_flow&)>& visit) const;

 private:
  UniqueFd services_, pending_, flows_, prefixes_, echoes_, settings_, counters_;
};

}  // namespace crab
