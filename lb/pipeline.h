// SPDX-License-Identifier: Apache-2.0
// The way of a burst through the appliance, without the NIC at either end. One Pipeline belongs to
// one worker and is used by that thread alone.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "lb/answer.h"
#include "lb/counters.h"
#include "lb/packet.h"
#include "lb/recall.h"
#include "lb/snapshot.h"

namespace crab {

struct PortSettings {
  MacAddress mac{};
  std::uint16_t mtu = 1500;
  // The peer hands over checksums it never completed: compute them whole at receive.
  bool complete_checksums = false;
};

struct PipelineSettings {
  std::array<PortSettings, kMaxPorts> ports{};  // by DPDK's port_id
  std::uint32_t recent_syn_entries = 1U << 20;  // 8 bytes each, rounded up to a power of two
  std::uint32_t answers_per_second = 10'000;
  std::uint64_t tsc_hz = 0;  // of the clock that process() is given
};

class Pipeline {
 public:
  // Throws std::bad_alloc when there is no memory for the recent-SYN table, and
  // std::system_error when the kernel gives no random numbers for its key.
  Pipeline(const PipelineSettings& settings, WorkerCounters& counters);

  // Counts the packets as received and gives every one its verdict. Redirected ones leave by
  // egress_port, Answered ones by the port they came in on; the rest is the worker's to hand over
  // or free. Precondition: at most kMaxBurst packets, each with at least one byte.
  void process(const Snapshot& snapshot, std::span<Packet> packets, std::uint64_t now_tsc);

  // Counts each packet of the burst once, under the verdict it has in the end, and publishes.
  void account(std::span<const Packet> packets);

 private:
  PipelineSettings settings_;
  WorkerCounters& counters_;
  RecentSyns recent_syns_;
  AnswerLimit answer_limit_;
};

}  // namespace crab
