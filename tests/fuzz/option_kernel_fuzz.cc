// SPDX-License-Identifier: Apache-2.0
// libFuzzer target: arbitrary option lists through the kernel's option code. It must say what the
// appliance's codec says, and what it echoes must be what it found.
#include <algorithm>
#include <cstdlib>

#include "tests/unit/option_kernel/kernel_option.h"

namespace {

void expect(bool holds) {
  if (!holds) std::abort();
}

void check_echo(const tcp_redirect_option& found, unsigned room) {
  std::uint8_t echo[CRAB_OPT_LEN_ADDR_TAG];
  const unsigned n = tcp_redirect_write_echo(echo, room, &found);
  expect(n <= room && n % 4 == 0);
  if (n == 0) {
    expect(!tcp_redirect_option_filled(&found) ||
           room < (found.state == TCP_REDIRECT_OPTION_PAPER ? CRAB_PAPER_INSERT_LEN
                                                            : CRAB_OPT_LEN_SHORT));
    return;
  }
  const tcp_redirect_option again = crab::test::find_in_kernel({echo, n});
  if (again.state == TCP_REDIRECT_OPTION_SHORT) {
    expect(room < found.len);
    return;
  }
  expect(again.state == found.state && again.len == found.len &&
         std::equal(again.bytes, again.bytes + again.len, found.bytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0 || size > 1 + CRAB_TCP_OPTIONS_MAX) return 0;
  const std::span<const std::uint8_t> list{data + 1, size - 1};
  expect(crab::test::codecs_agree(list));
  const tcp_redirect_option found = crab::test::find_in_kernel(list);
  check_echo(found, data[0] % (CRAB_TCP_OPTIONS_MAX + 1));
  // Where there is no offer already and the list can be walked, there is nothing of ours in it.
  if (!tcp_redirect_offer_forbidden(list.data(), static_cast<unsigned>(list.size()))) {
    expect(found.state == TCP_REDIRECT_OPTION_ABSENT);
  }
  return 0;
}
