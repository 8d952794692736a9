// SPDX-License-Identifier: Apache-2.0
// Writes the packet fixtures into a folder as seeds for the fuzzer.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/packet/fixtures.h"

int main(int argc, char** argv) {
  using namespace crab::test;
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  unsigned n = 0;
  for (const auto family : {crab::Family::Ipv4, crab::Family::Ipv6}) {
    for (auto* theme : {redirect_fixtures, option_fixtures, header_fixtures, refusal_fixtures}) {
      for (const auto& fixture : theme(family)) {
        for (const char mode : {'\1', '\2'}) {
          std::ofstream file(std::filesystem::path(argv[1]) / ("seed" + std::to_string(n++)),
                             std::ios::binary);
          file.put(mode);
          file.write(reinterpret_cast<const char*>(fixture.input.data()),
                     static_cast<std::streamsize>(fixture.input.size()));
          if (!file.flush()) return 1;
        }
      }
    }
  }
  return 0;
}
