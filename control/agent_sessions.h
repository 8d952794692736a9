// SPDX-License-Identifier: Apache-2.0
// Who may report, and what of a datagram counts: the agents attached to this node, their keys, and
// the checks between a datagram and the load table. Control strand only.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "control/report_counters.h"
#include "control/view.h"
#include "kernel_patch/agent/load_report.h"
#include "lb/load_table.h"

namespace crab {

inline constexpr std::size_t kMaxAgents = 4'096;

class AgentSessions {
 public:
  struct Session {
    std::uint64_t id = 0;
    LoadReportKey key{};
  };

  AgentSessions(std::uint8_t node, LoadTable& loads, ReportCounters& counters);
  AgentSessions(const AgentSessions&) = delete;
  AgentSessions& operator=(const AgentSessions&) = delete;

  // Another one in each life of the node.
  std::uint64_t nonce() const { return nonce_; }

  // A session of its own for an agent, who takes these addresses over from whoever had them. Empty
  // if there are kMaxAgents. Throws std::system_error if the kernel has no random numbers.
  std::optional<Session> attach(const std::vector<IpAddress>& addresses);
  void detach(std::uint64_t session);
  std::size_t size() const { return sessions_.size(); }

  // The backends that reports may be about, from now on.
  void set_backends(const View& view);

  // Takes a datagram: reports what it says to the load table, or counts why not. Appends the load
  // slots that it changed.
  void receive(std::span<const std::uint8_t> datagram, LoadTable::Time now,
               std::vector<std::uint32_t>* changed_slots);

 private:
  struct State {
    LoadReportKey key;
    std::uint64_t last_sequence = 0;
    std::uint64_t seen = 0;  // bit i: last_sequence - i has come
    std::vector<IpAddress> addresses;
  };
  struct EndpointHash {
    std::size_t operator()(const Endpoint& endpoint) const noexcept;
  };

  std::optional<ReportRefusal> check(State& session, const LoadReportHeader& header) const;
  static std::optional<ReportRefusal> check_sequence(State& session, std::uint64_t sequence);
  void take(const LoadReport& report, LoadTable::Time now, std::vector<std::uint32_t>* changed);
  void refuse(std::size_t reason);

  const std::uint8_t node_;
  const std::uint64_t nonce_;
  LoadTable& loads_;
  ReportCounters& counters_;
  std::unordered_map<std::uint64_t, State> sessions_;
  std::unordered_map<IpAddress, std::uint64_t> claimed_by_;  // session
  std::unordered_map<Endpoint, std::uint32_t, EndpointHash> slots_;
  LoadReport report_;  // its vector is used again for each datagram
};

}  // namespace crab
