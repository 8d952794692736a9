// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: arbitrary frames through the whole pipeline, and arbitrary option lists through
// the codec. The sanitizers see a byte too far; the checks below see a wrong result.
#include <rte_eal.h>

#include <cstdlib>

#include "lb/checksum.h"
#include "lb/parse.h"
#include "tests/packet/world.h"

namespace crab::test {
namespace {

#define FUZZ_CHECK(condition)       \
  do {                              \
    if (!(condition)) std::abort(); \
  } while (false)

// The sum over pseudo-header and segment: all ones when the checksum is right. Nothing for frames
// with a VLAN tag or extension headers.
std::optional<std::uint16_t> tcp_sum(const Bytes& frame) {
  const std::uint8_t* ip = frame.data() + kEthernetHeader;
  const auto type = load<be16>(frame.data() + 12);
  if (type == kEtherTypeIpv4) {
    const unsigned header = (ip[0] & 0x0fU) * 4;
    const unsigned length = to_host(load<be16>(ip + 2)) - header;
    const auto word = to_be(static_cast<std::uint16_t>(length));
    return fold(sum_bytes(ip + 12, 8) + sum_bytes(ip + header, length) +
                static_cast<std::uint16_t>(word) +
                static_cast<std::uint16_t>(to_be(std::uint16_t{kProtocolTcp})));
  }
  if (type != kEtherTypeIpv6 || ip[6] != kProtocolTcp) return std::nullopt;
  const unsigned length = to_host(load<be16>(ip + 4));
  return fold(sum_bytes(ip + 8, 32) + sum_bytes(ip + kIpv6Header, length) +
              static_cast<std::uint16_t>(to_be(static_cast<std::uint16_t>(length))) +
              static_cast<std::uint16_t>(to_be(std::uint16_t{kProtocolTcp})));
}

void check_redirected(const Bytes& in, const Bytes& out) {
  const auto before = tcp_sum(in);
  if (!before) return;
  // Right stays right, wrong stays wrong; one's complement has two zeros.
  const auto after = tcp_sum(out);
  FUZZ_CHECK(after);
  FUZZ_CHECK(*before % 0xffff == *after % 0xffff);
}

void fuzz_option_list(std::span<const std::uint8_t> list) {
  const FoundOption slow = find_redirect_option(list);
  const FoundOption quick = find_redirect_option_after_linux(list);
  FUZZ_CHECK(slow.state == quick.state);
  if (slow.state == OptionState::Malformed || slow.state == OptionState::Absent) return;
  FUZZ_CHECK(slow.form == quick.form && slow.offset == quick.offset);
  FUZZ_CHECK(slow.offset < list.size());
}

void fuzz_frame(const Bytes& frame, bool complete_checksums) {
  static World& trusting = *new World;
  static World& completing = *[] {
    auto* world = new World;
    world->complete_checksums(true);
    return world;
  }();
  World& world = complete_checksums ? completing : trusting;
  world.advance(0.01);
  const auto result = world.send(frame);
  FUZZ_CHECK(result.delta.n_rx_packets == 1);
  FUZZ_CHECK(result.delta.verdict(result.verdict) == 1);
  if (result.verdict == Verdict::Redirected && !complete_checksums) {
    check_redirected(frame, result.frame);
  }
}

}  // namespace
}  // namespace crab::test

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  const char* arguments[] = {"fuzz", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
                             "-m",   "64",        "--lcores",    "0@0",      "--log-level",
                             "error"};
  return rte_eal_init(static_cast<int>(std::size(arguments)), const_cast<char**>(arguments)) < 0
             ? 1
             : 0;
}

// The first byte chooses; the rest is the input proper.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 2000) return 0;
  const crab::test::Bytes rest(data + 1, data + size);
  switch (data[0] % 3) {
    case 0:
      crab::test::fuzz_option_list(rest);
      break;
    case 1:
      crab::test::fuzz_frame(rest, false);
      break;
    default:
      crab::test::fuzz_frame(rest, true);
      break;
  }
  return 0;
}
