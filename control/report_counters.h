// SPDX-License-Identifier: Apache-2.0
// What has become of the agents' reports.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "kernel_patch/agent/load_report.h"

namespace crab {

// Why a datagram or a record came to nothing: the codec's reasons (LoadReportError), then these.
enum class ReportRefusal : std::uint8_t {
  UnknownSession = kNLoadReportErrors,  // ended, or of before the node's restart
  WrongNode,
  WrongNonce,
  Replayed,          // the sequence number has been seen
  Reordered,         // it was overtaken: a newer datagram of the session came first
  UnclaimedAddress,  // a record: the backend's address is not one of the agent's
  UnknownBackend,    // a record: no service of this node balances to it by agents' reports
};
inline constexpr std::size_t kNReportRefusals =
    static_cast<std::size_t>(ReportRefusal::UnknownBackend) + 1;
// As counters are labelled; nullptr for LoadReportError::None, which is no refusal.
const char* name_of_refusal(std::size_t refusal);

// Written by the strand, read by any thread.
struct ReportCounters {
  std::atomic<std::uint64_t> n_datagrams{0};
  std::atomic<std::uint64_t> n_records{0};  // accepted
  std::array<std::atomic<std::uint64_t>, kNReportRefusals> n_refused{};
  std::atomic<std::uint32_t> n_agents{0};
  // ORCA (control/orca_client.h).
  std::atomic<std::uint64_t> n_orca_reports{0};
  std::atomic<std::uint64_t> n_orca_unusable{0};  // without the metric, or with no number for it
  std::atomic<std::uint64_t> n_orca_ended{0};     // streams that ended, or could not begin
};

}  // namespace crab
