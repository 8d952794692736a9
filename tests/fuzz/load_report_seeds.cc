// SPDX-License-Identifier: Apache-2.0
// Writes load reports into a folder as seeds for the fuzzer.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "kernel_patch/agent/load_report.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  const crab::LoadReportHeader header{.node = 1, .sequence = 1, .interval_us = 10'000};
  for (const char* address : {"10.0.0.11", "fd00::11"}) {
    const crab::LoadReportRecord record{.address = *crab::IpAddress::parse(address), .port = 8080};
    for (const std::size_t n : {1U, 2U, CRAB_REPORT_MAX_RECORDS + 0U}) {
      const std::vector<crab::LoadReportRecord> records(n, record);
      char bytes[CRAB_REPORT_MAX_LEN];
      const std::size_t length = crab::encode_load_report(
          header, records, {}, {reinterpret_cast<std::uint8_t*>(bytes), sizeof bytes});
      std::ofstream file(std::filesystem::path(argv[1]) / (address + std::to_string(n)),
                         std::ios::binary);
      if (!file.write(bytes, static_cast<std::streamsize>(length)).flush()) return 1;
    }
  }
  return 0;
}
