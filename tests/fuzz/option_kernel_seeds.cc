// SPDX-License-Identifier: Apache-2.0
// Writes option lists into a folder as seeds for the fuzzer; the first byte is the room for an
// echo.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/packet/frame.h"

int main(int argc, char** argv) {
  using namespace crab;
  using test::operator+;
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  std::filesystem::create_directories(argv[1]);
  unsigned n = 0;
  const auto write = [&](const test::Bytes& list) {
    for (const char room : {'\x08', '\x14', '\x28'}) {
      std::ofstream file(std::filesystem::path(argv[1]) / ("seed" + std::to_string(n++)),
                         std::ios::binary);
      file.put(room);
      file.write(reinterpret_cast<const char*>(list.data()),
                 static_cast<std::streamsize>(list.size()));
      if (!file.flush()) std::exit(1);
    }
  };
  for (const auto form : {RedirectForm::Address, RedirectForm::Tag, RedirectForm::AddressTag}) {
    const FilledOption filled =
        make_filled_option(form, 7, test::ip("10.0.0.100"), to_be(std::uint16_t{80}));
    write(test::linux_options() + test::offer(form));
    write(test::linux_options() +
          test::Bytes(filled.bytes.begin(), filled.bytes.begin() + filled.length));
  }
  write(test::linux_options() + test::paper_option(test::ip("10.0.0.100")));
  write({253, 4, 0xc4, 0xab, 1, 1, 0});
  return 0;
}
