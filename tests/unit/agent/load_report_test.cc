// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_report.h"

#include <gtest/gtest.h>

#include <charconv>
#include <fstream>
#include <functional>
#include <set>
#include <string>

#include "kernel_patch/uapi/crab_siphash.h"

namespace crab {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr LoadReportKey kKey = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr std::size_t kFirstRecord = sizeof(crab_report_header);

LoadReport example() {
  return {{.flags = CRAB_REPORT_EVENT | CRAB_REPORT_ACCEPTS,
           .node = 7,
           .session = 0x0123456789abcdef,
           .nonce = 0xfedcba9876543210,
           .boot_id = 0x1122334455667788,
           .sequence = 0x0102030405060708,
           .interval_us = 10'000},
          {{.address = IpAddress::parse("10.0.0.11").value(),
            .port = 8080,
            .open = 3,
            .accepted_own = 0x100000001,
            .accepted_total = 0x200000002,
            .closed_total = 0x1ffffffff},
           {.address = IpAddress::parse("fd00:c4ab::11").value(),
            .port = 443,
            .open = 0xfffffffe,
            .accepted_own = 0,
            .accepted_total = 0xffffffffffffffff,
            .closed_total = 1}}};
}

Bytes encoded(const LoadReport& report) {
  Bytes out(CRAB_REPORT_MAX_LEN);
  out.resize(encode_load_report(report.header, report.records, kKey, out));
  return out;
}

Bytes golden() {
  std::ifstream file(LOAD_REPORT_GOLDEN);
  Bytes bytes;
  for (std::string line; std::getline(file, line);) {
    if (line[0] == '#') continue;
    for (std::size_t i = 0; i + 2 <= line.size(); i += 2) {
      std::from_chars(line.data() + i, line.data() + i + 2, bytes.emplace_back(), 16);
    }
  }
  return bytes;
}

LoadReportError decoded(const Bytes& datagram) {
  LoadReport ignored;
  return decode_load_report(datagram, kKey, &ignored);
}

// The MAC made right again, as a faulty holder of the key would.
Bytes sealed(Bytes datagram) {
  const std::size_t covered = datagram.size() - CRAB_REPORT_MAC_LEN;
  crab_siphash24_128(kKey.data(), datagram.data(), static_cast<unsigned>(covered),
                     datagram.data() + covered);
  return datagram;
}

Bytes with_byte(std::size_t offset, std::uint8_t value) {
  Bytes datagram = encoded(example());
  datagram[offset] = value;
  return datagram;
}

TEST(LoadReport, BytesAreTheGoldenOnes) {
  ASSERT_EQ(golden().size(), 160U);
  EXPECT_EQ(encoded(example()), golden());
}

TEST(LoadReport, DecodingGivesBackEverything) {
  LoadReport report;
  ASSERT_EQ(decode_load_report(golden(), kKey, &report), LoadReportError::None);
  EXPECT_EQ(report.header, example().header);
  EXPECT_EQ(report.records, example().records);
}

TEST(LoadReport, AReusedReportHoldsTheLastDatagramAlone) {
  LoadReport report = example();
  report.records.resize(1);
  const Bytes one = encoded(report);
  ASSERT_EQ(decode_load_report(golden(), kKey, &report), LoadReportError::None);
  ASSERT_EQ(decode_load_report(one, kKey, &report), LoadReportError::None);
  EXPECT_EQ(report.records.size(), 1U);
}

TEST(LoadReport, TheLargestFitsIntoAnEthernetFrame) {
  LoadReport report = example();
  report.records.resize(CRAB_REPORT_MAX_RECORDS, report.records[0]);
  const Bytes datagram = encoded(report);
  EXPECT_EQ(datagram.size(), CRAB_REPORT_MAX_LEN);
  EXPECT_LE(datagram.size(), 1500U - 40U - 8U);
  EXPECT_EQ(decoded(datagram), LoadReportError::None);
}

TEST(LoadReport, TheSessionIsReadBeforeTheKeyIsKnown) {
  std::uint64_t session = 0;
  Bytes datagram = golden();
  datagram.back() ^= 1;
  EXPECT_EQ(peek_load_report_session(datagram, &session), LoadReportError::None);
  EXPECT_EQ(session, example().header.session);
  datagram.pop_back();
  EXPECT_EQ(peek_load_report_session(datagram, &session), LoadReportError::Length);
}

TEST(LoadReport, EveryOtherLengthIsRefused) {
  Bytes datagram = golden();
  datagram.push_back(0);
  EXPECT_EQ(decoded(datagram), LoadReportError::Length);
  for (datagram = golden(); !datagram.empty();) {
    datagram.pop_back();
    EXPECT_EQ(decoded(datagram), LoadReportError::Length) << datagram.size();
  }
}

TEST(LoadReport, EveryFlippedBitIsRefused) {
  const Bytes right = golden();
  for (std::size_t bit = 0; bit < right.size() * 8; ++bit) {
    Bytes datagram = right;
    datagram[bit / 8] = static_cast<std::uint8_t>(datagram[bit / 8] ^ (1U << bit % 8));
    EXPECT_NE(decoded(datagram), LoadReportError::None) << "bit " << bit;
  }
}

TEST(LoadReport, AnotherKeyIsRefused) {
  LoadReportKey key = kKey;
  key[15] ^= 1;
  LoadReport report;
  EXPECT_EQ(decode_load_report(golden(), key, &report), LoadReportError::Mac);
}

struct Refusal {
  const char* what;
  Bytes datagram;
  LoadReportError error;
};

TEST(LoadReport, FieldsAreChecked) {
  const auto unusable = [](const char* address) {
    LoadReport report = example();
    report.records[1].address = IpAddress::parse(address).value();
    return encoded(report);
  };
  const Refusal refusals[] = {
      {"magic", sealed(with_byte(0, 0x44)), LoadReportError::Magic},
      {"version", sealed(with_byte(4, 2)), LoadReportError::Version},
      {"no records", sealed(with_byte(7, 0)), LoadReportError::NRecords},
      {"records", sealed(with_byte(7, CRAB_REPORT_MAX_RECORDS + 1)), LoadReportError::NRecords},
      {"a record less than it says", sealed(with_byte(7, 3)), LoadReportError::Length},
      {"MAC", with_byte(kFirstRecord, 1), LoadReportError::Mac},
      {"flags", sealed(with_byte(5, 0x08)), LoadReportError::Flags},
      {"node", sealed(with_byte(6, 0)), LoadReportError::Node},
      {"zero", sealed(with_byte(47, 1)), LoadReportError::Zero},
      {"a record's zero", sealed(with_byte(kFirstRecord + 19, 1)), LoadReportError::Zero},
      {"loopback", unusable("127.0.0.1"), LoadReportError::Address},
      {"IPv6's loopback", unusable("::1"), LoadReportError::Address},
      {"multicast", unusable("ff02::1"), LoadReportError::Address},
  };
  for (const Refusal& refusal : refusals) {
    EXPECT_EQ(decoded(refusal.datagram), refusal.error) << refusal.what;
  }
}

TEST(LoadReport, ValuesAreChecked) {
  const auto changed = [](const std::function<void(LoadReport*)>& change) {
    LoadReport report = example();
    change(&report);
    return decoded(encoded(report));
  };
  EXPECT_EQ(changed([](LoadReport* r) { r->header.sequence = 0; }), LoadReportError::Sequence);
  EXPECT_EQ(changed([](LoadReport* r) { r->header.interval_us = 0; }), LoadReportError::Interval);
  EXPECT_EQ(changed([](LoadReport* r) { r->header.interval_us = kMaxReportIntervalUs; }),
            LoadReportError::None);
  EXPECT_EQ(changed([](LoadReport* r) { r->header.interval_us = kMaxReportIntervalUs + 1; }),
            LoadReportError::Interval);
  EXPECT_EQ(changed([](LoadReport* r) { r->records[0].port = 0; }), LoadReportError::Port);
}

TEST(LoadReport, ErrorsHaveNamesOfTheirOwn) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < kNLoadReportErrors; ++i) {
    names.insert(name_of(static_cast<LoadReportError>(i)));
  }
  EXPECT_EQ(names.size(), kNLoadReportErrors);
}

}  // namespace
}  // namespace crab
