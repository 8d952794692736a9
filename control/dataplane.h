// SPDX-License-Identifier: Apache-2.0
// What the control service needs of the datapath, so that its tests run without DPDK. The
// implementation is lb/dpdk_dataplane.h; methods are called on the control strand
// unless they say otherwise.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lb/address.h"
#include "lb/counters.h"
#include "lb/publish.h"
#include "lb/snapshot.h"

namespace crab {

// An address that this node answers for.
struct VirtualAddress {
  IpAddress address;
  bool announce = true;  // answer ARP and neighbour solicitations for it on the host interface

  auto operator<=>(const VirtualAddress&) const = default;
};

// How far the next hop of a backend is known.
struct NextHopState {
  std::optional<NextHop> next_hop;  // empty: the backend is not eligible
  std::string reason;               // when empty: why, for the operator ("no route", ...)

  bool operator==(const NextHopState&) const = default;
};

// Packets outside the workers' blocks, since start, over all ports.
struct EdgeTotals {
  std::uint64_t n_missed = 0;            // lost before a worker got them, as the drivers say
  std::uint64_t n_to_linux = 0;          // written to a host interface
  std::uint64_t n_to_linux_drops = 0;    // refused by it: down, or no memory
  std::uint64_t n_from_linux = 0;        // taken from a host interface for the workers
  std::uint64_t n_from_linux_drops = 0;  // no buffer, no room in the ring, or too long
};

// A connection, as its SYN has it; ports in host order.
struct FlowTuple {
  IpAddress source;
  std::uint16_t source_port = 0;
  IpAddress destination;  // of the same family
  std::uint16_t destination_port = 0;
};

struct ExplainedChoice {
  std::uint32_t load_slot = 0;  // of the backend
  std::string why;              // in the policy's words
  // The flow alone decides, until the backends change. Otherwise this is what would be picked now,
  // and may be another one by the time that a SYN comes.
  bool certain = false;
};

class Dataplane {
 public:
  virtual ~Dataplane() = default;

  // Builds and publishes; when it returns with applied, every worker uses it. Throws what
  // Snapshot's constructor throws, with the old snapshot still in force.
  virtual PublishOutcome publish(const SnapshotSpec& spec) = 0;

  // The loads of these slots may have changed (LoadTable): tells the policies of the snapshot in
  // force that balance to them.
  virtual void loads_changed(std::span<const std::uint32_t> load_slots) = 0;
  // The same for every slot that some policy in force balances to by its load.
  virtual void all_loads_changed() = 0;
  // By ServiceSpec::id: the policy's rule in force, empty if it has but one or the service is not
  // in the snapshot.
  virtual std::string policy_rule(std::uint32_t service_id) const = 0;

  // By ServiceSpec::id: what the policy in force would pick; changes nothing. Empty if the service
  // is not in the snapshot, or has no eligible backend.
  virtual std::optional<ExplainedChoice> explain(std::uint32_t service_id,
                                                 const FlowTuple& flow) const = 0;

  // Keeps the next hops of exactly these addresses resolved, starting with those that are new.
  // Their states arrive through the callback, at first and whenever they change.
  virtual void resolve(const std::vector<IpAddress>& backend_addresses) = 0;
  using NextHopCallback = std::function<void(const IpAddress&, const NextHopState&)>;
  virtual void on_next_hop(NextHopCallback callback) = 0;

  // Gives the host interfaces exactly these virtual addresses (besides the configured ones).
  virtual void set_virtual_addresses(const std::vector<VirtualAddress>& addresses) = 0;

  // Is this one of the node's own configured addresses? Such may be no service or backend.
  virtual bool is_own_address(const IpAddress& address) const = 0;

  virtual unsigned n_workers() const = 0;
  virtual const WorkerCounters& counters(unsigned worker) const = 0;
  // Any thread.
  virtual EdgeTotals edge_totals() const = 0;
};

}  // namespace crab
