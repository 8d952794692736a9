// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <random>

#include "tests/packet/frame.h"
#include "tests/unit/option_kernel/kernel_option.h"

namespace crab {
namespace {

using test::Bytes;
using test::codecs_agree;
using test::find_in_kernel;
using test::ip;
using test::nops;
using test::offer;
using test::operator+;

constexpr RedirectForm kForms[] = {RedirectForm::Address, RedirectForm::Tag,
                                   RedirectForm::AddressTag};

Bytes redirect(RedirectForm form, std::uint8_t node = 7) {
  const FilledOption filled =
      make_filled_option(form, node, ip("10.0.0.100"), to_be(std::uint16_t{80}));
  return {filled.bytes.begin(), filled.bytes.begin() + filled.length};
}

const Bytes kShort = {253, 4, 0xc4, 0xab};

TEST(KernelOption, FindsEachFormWhereverItStands) {
  for (const auto form : kForms) {
    for (std::size_t before = 0; before <= 20; ++before) {
      const Bytes filled = redirect(form);
      const auto found = find_in_kernel(nops(before) + filled + nops(20 - before));
      ASSERT_EQ(found.state, TCP_REDIRECT_OPTION_REDIRECT);
      ASSERT_EQ(Bytes(found.bytes, found.bytes + found.len), filled);
      ASSERT_EQ(tcp_redirect_option_node(&found), 7);
      ASSERT_TRUE(tcp_redirect_option_filled(&found));
    }
    EXPECT_EQ(find_in_kernel(offer(form)).state, TCP_REDIRECT_OPTION_OFFER);
  }
  EXPECT_EQ(find_in_kernel(kShort).state, TCP_REDIRECT_OPTION_SHORT);
  const auto paper = find_in_kernel(test::paper_option(ip("10.0.0.100")));
  EXPECT_EQ(paper.state, TCP_REDIRECT_OPTION_PAPER);
  EXPECT_TRUE(tcp_redirect_option_filled(&paper));
  EXPECT_EQ(tcp_redirect_option_node(&paper), 0);
}

TEST(KernelOption, RefusesWhatBreaksARule) {
  const Bytes filled = redirect(RedirectForm::Address);
  EXPECT_EQ(find_in_kernel(filled + filled).state, TCP_REDIRECT_OPTION_MALFORMED);
  EXPECT_EQ(find_in_kernel(kShort + filled).state, TCP_REDIRECT_OPTION_MALFORMED);
  EXPECT_EQ(find_in_kernel(redirect(RedirectForm::Tag, 0)).state, TCP_REDIRECT_OPTION_MALFORMED);
  EXPECT_EQ(find_in_kernel(filled + Bytes{8, 0}).state, TCP_REDIRECT_OPTION_MALFORMED);
  EXPECT_EQ(find_in_kernel(filled + Bytes{8}).state, TCP_REDIRECT_OPTION_MALFORMED);
  EXPECT_EQ(find_in_kernel(filled + Bytes{8, 10, 0}).state, TCP_REDIRECT_OPTION_MALFORMED);
  EXPECT_EQ(find_in_kernel(Bytes{42, 4, 1, 2}).state, TCP_REDIRECT_OPTION_MALFORMED);
  // What stands after EOL does not exist, be it right or wrong.
  EXPECT_EQ(find_in_kernel(Bytes{0} + filled).state, TCP_REDIRECT_OPTION_ABSENT);
  EXPECT_EQ(find_in_kernel(filled + Bytes{0, 8, 0}).state, TCP_REDIRECT_OPTION_REDIRECT);
  EXPECT_EQ(find_in_kernel({}).state, TCP_REDIRECT_OPTION_ABSENT);
  // Another experiment's ExID.
  EXPECT_EQ(find_in_kernel(Bytes{253, 4, 0xc4, 0xac}).state, TCP_REDIRECT_OPTION_ABSENT);
}

TEST(KernelOption, SaysWhatTheAppliancesCodecSays) {
  for (const auto form : kForms) {
    for (const Bytes& option : {offer(form), redirect(form)}) {
      const Bytes usual = test::linux_options() + option;
      for (std::size_t at = 0; at < usual.size(); ++at) {
        for (unsigned value = 0; value < 256; ++value) {
          Bytes list = usual;
          list[at] = static_cast<std::uint8_t>(value);
          ASSERT_TRUE(codecs_agree(list)) << test::hex_dump(list);
        }
      }
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 200'000; ++i) {
    Bytes list(random() % 41);
    constexpr std::uint8_t kLikely[] = {0,  1, 2,   3,    4,    8,    10,   12,
                                        42, 6, 253, 0xc4, 0xab, 0x12, 0x13, 16};
    for (auto& byte : list) byte = kLikely[random() % std::size(kLikely)];
    ASSERT_TRUE(codecs_agree(list)) << test::hex_dump(list);
  }
}

TEST(KernelOption, WritesTheOfferThatTheApplianceWants) {
  for (const auto form : kForms) {
    Bytes written(CRAB_OPT_LEN_ADDR_TAG);
    const auto length = static_cast<unsigned>(length_of(form));
    ASSERT_EQ(tcp_redirect_write_offer(written.data(), length), length);
    written.resize(length);
    EXPECT_EQ(written, offer(form));
  }
  std::uint8_t untouched = 1;
  for (const unsigned form : {0U, 4U, 6U, 8U, 13U, 24U}) {
    EXPECT_EQ(tcp_redirect_write_offer(&untouched, form), 0U);
  }
  EXPECT_EQ(untouched, 1);
}

TEST(KernelOption, EchoesByteForByteOrShort) {
  for (const auto form : kForms) {
    const Bytes filled = redirect(form);
    const auto found = find_in_kernel(nops(3) + filled);
    for (unsigned room = 0; room <= CRAB_TCP_OPTIONS_MAX; ++room) {
      Bytes echo(CRAB_OPT_LEN_ADDR_TAG);
      echo.resize(tcp_redirect_write_echo(echo.data(), room, &found));
      ASSERT_EQ(echo, room >= filled.size() ? filled : room >= 4 ? kShort : Bytes{}) << room;
    }
  }
}

TEST(KernelOption, EchoesThePapersFormAlignedOrNotAtAll) {
  const Bytes paper = test::paper_option(ip("10.0.0.100"));
  const auto found = find_in_kernel(paper);
  Bytes echo(CRAB_OPT_LEN_ADDR_TAG);
  EXPECT_EQ(tcp_redirect_write_echo(echo.data(), 7, &found), 0U);
  echo.resize(tcp_redirect_write_echo(echo.data(), 8, &found));
  EXPECT_EQ(echo, nops(2) + paper);
}

TEST(KernelOption, EchoesNothingButARedirect) {
  Bytes echo(CRAB_OPT_LEN_ADDR_TAG);
  for (const Bytes& list : {Bytes{}, kShort, offer(RedirectForm::Address), Bytes{8, 0}}) {
    const auto found = find_in_kernel(list);
    EXPECT_EQ(tcp_redirect_write_echo(echo.data(), 40, &found), 0U);
  }
}

struct ForbiddenCase {
  const char* what;
  Bytes list;
  bool forbidden;
};

TEST(KernelOption, KnowsWhatAnOfferDoesNotGoWith) {
  const ForbiddenCase cases[] = {
      {"Linux's usual list", test::linux_options(), false},
      {"MD5", Bytes{19, 18} + Bytes(16), true},
      {"AO", Bytes{29, 4, 1, 1}, true},
      {"Fast Open, with a cookie", Bytes{34, 10} + Bytes(8), true},
      {"Fast Open, asking for one", Bytes{34, 2}, true},
      {"Fast Open's experimental kind", Bytes{254, 4, 0xf9, 0x89}, true},
      {"another experiment", Bytes{254, 4, 0xf9, 0x88}, false},
      {"MP_CAPABLE", Bytes{30, 4, 0x01, 0x81}, false},
      {"MP_JOIN", Bytes{30, 12, 0x10} + Bytes(9), true},
      {"an offer", offer(RedirectForm::Address), true},
      {"the paper's option", test::paper_option(ip("10.0.0.100")), true},
      {"a malformed list", Bytes{8, 0}, true},
      {"MD5 after EOL", Bytes{0, 19, 18} + Bytes(16), false},
  };
  for (const auto& c : cases) {
    EXPECT_EQ(tcp_redirect_offer_forbidden(c.list.data(), static_cast<unsigned>(c.list.size())),
              c.forbidden)
        << c.what;
  }
}

}  // namespace
}  // namespace crab
