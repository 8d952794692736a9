// SPDX-License-Identifier: Apache-2.0
// The load report of kernel_patch/uapi/crab_report.h as values: encoded by crab-agent, decoded by a
// node. Pure functions for any thread; depends on nothing but the layout and lb/address.
//
// A receiver peeks at the session, finds its key, and decodes. What it then makes of node, session,
// nonce, boot id and sequence is its own business: decoding says only that the datagram is
// well-formed and was made by a holder of the key.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernel_patch/uapi/crab_report.h"
#include "lb/address.h"

namespace crab {

using LoadReportKey = std::array<std::uint8_t, CRAB_REPORT_KEY_LEN>;

// Host byte order. Magic, version and the number of records are the codec's.
struct LoadReportHeader {
  std::uint8_t flags = 0;  // CRAB_REPORT_*
  std::uint8_t node = 0;   // 1 to 255
  std::uint64_t session = 0;
  std::uint64_t nonce = 0;
  std::uint64_t boot_id = 0;
  std::uint64_t sequence = 0;     // from 1
  std::uint32_t interval_us = 0;  // 1 to kMaxReportIntervalUs

  bool operator==(const LoadReportHeader&) const = default;
};

// Host byte order. Counts are cumulative since the header's boot id.
struct LoadReportRecord {
  IpAddress address;  // never loopback, multicast, unspecified or broadcast
  std::uint16_t port = 0;
  std::uint32_t open = 0;
  std::uint64_t accepted_own = 0;
  std::uint64_t accepted_total = 0;
  std::uint64_t closed_total = 0;

  bool operator==(const LoadReportRecord&) const = default;
};

struct LoadReport {
  LoadReportHeader header;
  std::vector<LoadReportRecord> records;  // 1 to CRAB_REPORT_MAX_RECORDS
};

inline constexpr std::uint32_t kMaxReportIntervalUs = 60'000'000;

// Why a datagram is no report, in the order of the checks. Behind Mac, a holder of the key made it.
enum class LoadReportError : std::uint8_t {
  None,
  Length,    // not that of a header, its records and the MAC
  Magic,     // another protocol
  Version,   // of the report's format
  NRecords,  // none, or more than CRAB_REPORT_MAX_RECORDS
  Mac,       // made with another key, or changed on the way
  Flags,     // one that this version does not know
  Node,      // 0
  Sequence,  // 0
  Interval,  // 0, or above kMaxReportIntervalUs
  Zero,      // a field that has to be zero is not
  Address,   // of a record: one that no backend can have
  Port,      // of a record: 0
};
inline constexpr std::size_t kNLoadReportErrors = 13;

// As counters are labelled: "length", "n_records".
const char* name_of(LoadReportError error);

// Writes the datagram and returns its length in bytes. records has 1 to CRAB_REPORT_MAX_RECORDS
// elements, out room for CRAB_REPORT_MAX_LEN bytes or for the length that these records take.
std::size_t encode_load_report(const LoadReportHeader& header,
                               std::span<const LoadReportRecord> records, const LoadReportKey& key,
                               std::span<std::uint8_t> out);

// What can be said before a key is known: None, Length, Magic, Version or NRecords. With None
// *session is set.
LoadReportError peek_load_report_session(std::span<const std::uint8_t> datagram,
                                         std::uint64_t* session);

// Sets *report, whose vector is reused, if the result is None; otherwise *report holds nothing of
// use. The MAC is compared in constant time.
LoadReportError decode_load_report(std::span<const std::uint8_t> datagram, const LoadReportKey& key,
                                   LoadReport* report);

}  // namespace crab
