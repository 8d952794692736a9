// SPDX-License-Identifier: Apache-2.0
// One session with one node: what it wants, and when the next datagrams of load reports leave.
// Used by the reporter's thread alone.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "kernel_patch/agent/load_maps.h"
#include "kernel_patch/agent/load_report.h"
#include "kernel_patch/agent/unique_fd.h"
#include "kernel_patch/bpf/layout.h"

namespace crab {

// As crab.v1.AttachResponse gave them, checked.
struct SessionTerms {
  std::uint8_t node = 0;
  SocketAddress report_to;
  std::uint64_t session = 0;
  std::uint64_t nonce = 0;
  LoadReportKey key{};
  std::chrono::microseconds heartbeat_interval{10'000};
  std::chrono::microseconds coalescing_interval{1000};
  bool report_accepts = false;
  std::vector<SocketAddress> backends;

  // Whether reports go on under the same sequence.
  bool is_same_session(const SessionTerms& other) const;
};

class ReportSession {
 public:
  using Clock = std::chrono::steady_clock;

  // Throws AgentError if there can be no socket for the node's address. *status is written to.
  ReportSession(SessionTerms terms, crab_session* status);

  const SessionTerms& terms() const { return terms_; }
  // Of the same session. A heartbeat is due at once.
  void set_terms(SessionTerms terms);
  // Where the terms' backends are counted. A heartbeat is due at once.
  void set_backends(std::vector<WatchedBackend> backends);

  // Something happened to a backend: CRAB_LOAD_*. Nothing, if the node does not want to know.
  void note(std::uint32_t index, std::uint32_t changed);
  // When send_due() has something to send.
  Clock::time_point due() const;
  void send_due(const LoadMaps& maps, Clock::time_point now);
  void say_goodbye(const LoadMaps& maps);

 private:
  void send_all(const LoadMaps& maps, std::uint8_t flags);
  void send_changed(const LoadMaps& maps);
  void send(const LoadMaps& maps, std::span<const WatchedBackend> backends, std::uint8_t flags);
  void transmit(std::span<const std::uint8_t> datagram);
  LoadReportRecord record_of(const LoadMaps& maps, const WatchedBackend& backend) const;

  SessionTerms terms_;
  crab_session* status_;
  UniqueFd socket_;
  std::uint64_t sequence_ = 0;
  std::vector<WatchedBackend> backends_;
  std::map<std::uint32_t, std::size_t> places_;  // index -> in backends_
  std::vector<std::uint8_t> is_changed_;         // since its last record; as backends_
  std::size_t n_changed_ = 0;
  Clock::time_point heartbeat_at_;
  Clock::time_point event_after_;  // the coalescing interval since the last event's datagram
};

}  // namespace crab
