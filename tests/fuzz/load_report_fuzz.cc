// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: arbitrary datagrams through the load report's decoder. What is accepted must
// encode to the same bytes. The MAC is made right first, or the fuzzer would get no further.
#include <algorithm>
#include <cstdlib>

#include "kernel_patch/agent/load_report.h"
#include "kernel_patch/uapi/crab_siphash.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static constexpr crab::LoadReportKey kKey{};
  static crab::LoadReport report;
  std::vector<std::uint8_t> datagram(data, data + size);
  std::uint64_t session = 0;
  const crab::LoadReportError peeked = crab::peek_load_report_session(datagram, &session);
  if (size >= CRAB_REPORT_MAC_LEN) {
    const std::size_t covered = size - CRAB_REPORT_MAC_LEN;
    crab_siphash24_128(kKey.data(), datagram.data(), static_cast<unsigned>(covered),
                       datagram.data() + covered);
  }
  const crab::LoadReportError decoded = crab::decode_load_report(datagram, kKey, &report);
  if (peeked != crab::LoadReportError::None) {
    if (decoded != peeked) std::abort();
    return 0;
  }
  if (decoded != crab::LoadReportError::None) return 0;
  if (report.header.session != session) std::abort();
  std::vector<std::uint8_t> again(CRAB_REPORT_MAX_LEN);
  again.resize(crab::encode_load_report(report.header, report.records, kKey, again));
  if (again != datagram) std::abort();
  return 0;
}
