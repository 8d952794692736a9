// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_report.h"

#include <endian.h>

#include <cassert>
#include <cstring>

#include "kernel_patch/agent/mapped_bytes.h"
#include "kernel_patch/uapi/crab_siphash.h"

namespace crab {
namespace {

constexpr std::size_t kHeaderLength = sizeof(crab_report_header);
constexpr std::size_t kRecordLength = sizeof(crab_report_record);
constexpr unsigned kKnownFlags = CRAB_REPORT_EVENT | CRAB_REPORT_ACCEPTS | CRAB_REPORT_GOODBYE;

static_assert(kHeaderLength == 48 && kRecordLength == 48);

constexpr const char* kNames[] = {"none", "length",  "magic", "version",  "n_records",
                                  "mac",  "flags",   "node",  "sequence", "interval",
                                  "zero", "address", "port"};
static_assert(std::size(kNames) == kNLoadReportErrors);

constexpr std::size_t length_of(std::size_t n_records) {
  return kHeaderLength + n_records * kRecordLength + CRAB_REPORT_MAC_LEN;
}

crab_report_record to_wire(const LoadReportRecord& record) {
  crab_report_record wire{};
  put_mapped(record.address, wire.address);
  wire.port = htobe16(record.port);
  wire.open = htobe32(record.open);
  wire.accepted_own = htobe64(record.accepted_own);
  wire.accepted_total = htobe64(record.accepted_total);
  wire.closed_total = htobe64(record.closed_total);
  return wire;
}

LoadReportRecord from_wire(const crab_report_record& wire) {
  LoadReportRecord record;
  record.address = get_mapped(wire.address);
  record.port = be16toh(wire.port);
  record.open = be32toh(wire.open);
  record.accepted_own = be64toh(wire.accepted_own);
  record.accepted_total = be64toh(wire.accepted_total);
  record.closed_total = be64toh(wire.closed_total);
  return record;
}

// Says nothing of where the two differ by the time it takes.
bool are_equal(const std::uint8_t* a, const std::uint8_t* b, std::size_t length) {
  unsigned difference = 0;
  for (std::size_t i = 0; i < length; ++i) difference |= static_cast<unsigned>(a[i] ^ b[i]);
  return difference == 0;
}

// All but the MAC and the fields behind it.
LoadReportError check_frame(std::span<const std::uint8_t> datagram, crab_report_header* header) {
  if (datagram.size() < length_of(1)) return LoadReportError::Length;
  std::memcpy(header, datagram.data(), kHeaderLength);
  if (be32toh(header->magic) != CRAB_REPORT_MAGIC) return LoadReportError::Magic;
  if (header->version != CRAB_REPORT_VERSION) return LoadReportError::Version;
  if (header->n_records == 0 || header->n_records > CRAB_REPORT_MAX_RECORDS) {
    return LoadReportError::NRecords;
  }
  if (datagram.size() != length_of(header->n_records)) return LoadReportError::Length;
  return LoadReportError::None;
}

LoadReportError check_header(const LoadReportHeader& header) {
  if ((header.flags & ~kKnownFlags) != 0) return LoadReportError::Flags;
  if (header.node == 0) return LoadReportError::Node;
  if (header.sequence == 0) return LoadReportError::Sequence;
  if (header.interval_us == 0 || header.interval_us > kMaxReportIntervalUs) {
    return LoadReportError::Interval;
  }
  return LoadReportError::None;
}

LoadReportError check_record(const crab_report_record& wire, const LoadReportRecord& record) {
  if (wire.zero != 0) return LoadReportError::Zero;
  if (record.address.is_unusable()) return LoadReportError::Address;
  if (record.port == 0) return LoadReportError::Port;
  return LoadReportError::None;
}

}  // namespace

const char* name_of(LoadReportError error) { return kNames[static_cast<std::size_t>(error)]; }

std::size_t encode_load_report(const LoadReportHeader& header,
                               std::span<const LoadReportRecord> records, const LoadReportKey& key,
                               std::span<std::uint8_t> out) {
  const std::size_t length = length_of(records.size());
  assert(!records.empty() && records.size() <= CRAB_REPORT_MAX_RECORDS && out.size() >= length);
  crab_report_header wire{};
  wire.magic = htobe32(CRAB_REPORT_MAGIC);
  wire.version = CRAB_REPORT_VERSION;
  wire.flags = header.flags;
  wire.node = header.node;
  wire.n_records = static_cast<std::uint8_t>(records.size());
  wire.session = htobe64(header.session);
  wire.nonce = htobe64(header.nonce);
  wire.boot_id = htobe64(header.boot_id);
  wire.sequence = htobe64(header.sequence);
  wire.interval_us = htobe32(header.interval_us);
  std::memcpy(out.data(), &wire, kHeaderLength);
  std::uint8_t* next = out.data() + kHeaderLength;
  for (const LoadReportRecord& record : records) {
    const crab_report_record wire_record = to_wire(record);
    std::memcpy(next, &wire_record, kRecordLength);
    next += kRecordLength;
  }
  crab_siphash24_128(key.data(), out.data(), static_cast<unsigned>(next - out.data()), next);
  return length;
}

LoadReportError peek_load_report_session(std::span<const std::uint8_t> datagram,
                                         std::uint64_t* session) {
  crab_report_header wire;
  const LoadReportError error = check_frame(datagram, &wire);
  if (error == LoadReportError::None) *session = be64toh(wire.session);
  return error;
}

LoadReportError decode_load_report(std::span<const std::uint8_t> datagram, const LoadReportKey& key,
                                   LoadReport* report) {
  crab_report_header wire;
  if (const auto error = check_frame(datagram, &wire); error != LoadReportError::None) return error;
  const std::size_t covered = datagram.size() - CRAB_REPORT_MAC_LEN;
  std::uint8_t mac[CRAB_REPORT_MAC_LEN];
  crab_siphash24_128(key.data(), datagram.data(), static_cast<unsigned>(covered), mac);
  if (!are_equal(mac, datagram.data() + covered, sizeof mac)) return LoadReportError::Mac;

  report->header = {.flags = wire.flags,
                    .node = wire.node,
                    .session = be64toh(wire.session),
                    .nonce = be64toh(wire.nonce),
                    .boot_id = be64toh(wire.boot_id),
                    .sequence = be64toh(wire.sequence),
                    .interval_us = be32toh(wire.interval_us)};
  if (const auto error = check_header(report->header); error != LoadReportError::None) return error;
  if (wire.zero != 0) return LoadReportError::Zero;
  report->records.clear();
  for (std::size_t at = kHeaderLength; at < covered; at += kRecordLength) {
    crab_report_record wire_record;
    std::memcpy(&wire_record, datagram.data() + at, kRecordLength);
    const LoadReportRecord& record = report->records.emplace_back(from_wire(wire_record));
    const auto error = check_record(wire_record, record);
    if (error != LoadReportError::None) return error;
  }
  return LoadReportError::None;
}

}  // namespace crab
