// SPDX-License-Identifier: Apache-2.0
// The appliance that packet tests send to: one port, a handful of services, IPv4 and IPv6 alike.
#pragma once

#include <memory>

#include "lb/pipeline.h"
#include "lb/snapshot.h"
#include "tests/packet/frame.h"

namespace crab::test {

inline constexpr std::uint8_t kNode = 7;
inline constexpr std::uint64_t kTscHz = 2'000'000'000;
inline const ServiceKey kKey = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

// The same topology in either family, so that a fixture is written once.
struct Addresses {
  IpAddress client, plain, keyed, paper, empty, out_of_range, backend, other_backend, host;
  RedirectForm plain_form, keyed_form;
};
const Addresses& addresses(Family family);

class World {
 public:
  explicit World(std::uint32_t answers_per_second = 1000);

  struct Result {
    Verdict verdict;
    Bytes frame;  // as it would be sent
    std::uint16_t egress_port;
    WorkerTotals delta;
  };
  Result send(const Bytes& frame, bool nic_checksum_bad = false, std::uint16_t headroom = 128);
  // One burst; every frame gets the same headroom.
  std::vector<Result> send_burst(const std::vector<Bytes>& frames, std::uint16_t headroom = 128,
                                 bool nic_checksum_bad = false);

  // Swaps in a snapshot whose plain services have just these backends eligible (by load slot, 0
  // and 1 exist).
  void set_eligible(const std::vector<std::uint32_t>& slots);
  void advance(double seconds) { now_ += static_cast<std::uint64_t>(seconds * kTscHz); }
  void complete_checksums(bool on);

  const WorkerCounters& counters() const { return *counters_; }
  const Snapshot& snapshot() const { return *snapshot_; }

 private:
  PipelineSettings settings() const;
  void rebuild();

  std::uint32_t answers_per_second_;
  bool complete_checksums_ = false;
  std::vector<std::uint32_t> eligible_ = {0, 1};
  std::unique_ptr<Snapshot> snapshot_;
  std::unique_ptr<WorkerCounters> counters_;
  std::unique_ptr<Pipeline> pipeline_;
  std::uint64_t now_ = 100 * kTscHz;
};

}  // namespace crab::test
