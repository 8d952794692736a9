// SPDX-License-Identifier: Apache-2.0
#include "lb/redirect_option.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <sstream>

#include "kernel_patch/uapi/crab_siphash.h"
#include "lb/checksum.h"
#include "tests/packet/frame.h"

namespace crab {
namespace {

using test::Bytes;
using test::ip;
using test::operator+;

std::string to_hex(std::span<const std::uint8_t> bytes) {
  std::string text;
  for (const auto b : bytes) {
    char two[3];
    std::snprintf(two, sizeof two, "%02x", b);
    text += two;
  }
  return text;
}

ServiceKey parse_key(const std::string& hex) {
  ServiceKey key;
  for (std::size_t i = 0; i < key.size(); ++i) {
    key[i] = static_cast<std::uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  }
  return key;
}

// The reference vectors of the SipHash authors: key and message count up from zero.
TEST(SipHash, ReferenceVectors) {
  std::uint8_t key[16];
  std::uint8_t message[15];
  for (std::uint8_t i = 0; i < 16; ++i) key[i] = i;
  for (std::uint8_t i = 0; i < 15; ++i) message[i] = i;
  EXPECT_EQ(crab_siphash24(key, message, 0), 0x726fdb47dd0e0e31ULL);
  EXPECT_EQ(crab_siphash24(key, message, 15), 0xa129ca6149be45e5ULL);
  std::uint8_t wide[16];
  crab_siphash24_128(key, message, 0, wide);
  EXPECT_EQ(to_hex(wide), "a3817f04ba25a8e66df67214c7550293");
}

TEST(RedirectOption, TagVectors) {
  std::ifstream file(TAG_VECTORS);
  ASSERT_TRUE(file) << TAG_VECTORS;
  unsigned n = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string key, vip, dip, client, isn, client_key, tag;
    std::uint16_t vport, dport, client_port;
    fields >> key >> vip >> vport >> dip >> dport >> client >> client_port >> isn >> client_key >>
        tag;
    ASSERT_TRUE(fields) << line;
    EXPECT_EQ(to_hex(derive_client_key(parse_key(key), ip(client))), client_key);
    EXPECT_EQ(
        to_hex(make_tag(parse_key(key),
                        {.virtual_address = ip(vip),
                         .virtual_port = to_be(vport),
                         .backend_address = ip(dip),
                         .backend_port = to_be(dport),
                         .client_address = ip(client),
                         .client_port = to_be(client_port),
                         .isn = to_be(static_cast<std::uint32_t>(std::stoul(isn, nullptr, 16)))})),
        tag);
    ++n;
  }
  EXPECT_GE(n, 3);
}

TEST(RedirectOption, FilledBytesOfEachForm) {
  const auto bytes_of = [](RedirectForm form, const std::string& vip) {
    const FilledOption filled = make_filled_option(form, 7, ip(vip), to_be(std::uint16_t{80}));
    return to_hex({filled.bytes.data(), filled.length});
  };
  EXPECT_EQ(bytes_of(RedirectForm::Address, "10.0.0.100"), "fd0cc4ab130700500a000064");
  EXPECT_EQ(bytes_of(RedirectForm::AddressTag, "10.0.0.100"),
            "fd14c4ab170700500a0000640000000000000000");
  EXPECT_EQ(bytes_of(RedirectForm::Tag, "fd00::1"), "fd10c4ab150700500000000000000000");
  EXPECT_EQ(bytes_of(RedirectForm::Paper, "10.0.0.100"), "2a060a000064");
}

// The shared fixtures of the other tests build options on their own: both must agree.
TEST(RedirectOption, FindsWhatItFills) {
  for (const auto form : {RedirectForm::Address, RedirectForm::Tag, RedirectForm::AddressTag}) {
    const FilledOption filled =
        make_filled_option(form, 255, ip("10.0.0.100"), to_be(std::uint16_t{65535}));
    const auto found = find_redirect_option({filled.bytes.data(), filled.length});
    EXPECT_EQ(found.state, OptionState::Redirect);
    EXPECT_EQ(found.form, form);
    EXPECT_EQ(find_redirect_option(test::offer(form)).state, OptionState::Offer);
  }
}

// Filling an offer anywhere and adding the delta is the same as summing the list again.
TEST(RedirectOption, DeltaIsTheDifferenceOfTheSums) {
  for (const auto form : {RedirectForm::Address, RedirectForm::Tag, RedirectForm::AddressTag}) {
    const FilledOption filled =
        make_filled_option(form, 3, ip("203.0.113.250"), to_be(std::uint16_t{65535}));
    for (std::size_t offset = 0; offset < 20; ++offset) {
      Bytes before = test::nops(offset) + test::offer(form) + test::nops(20 - offset);
      Bytes after = before;
      std::copy_n(filled.bytes.begin(), filled.length,
                  after.begin() + static_cast<std::ptrdiff_t>(offset));
      const std::uint16_t delta = offset % 2 == 0 ? filled.delta : __builtin_bswap16(filled.delta);
      const auto checksum = [](const Bytes& b) {
        return static_cast<std::uint16_t>(~fold(sum_bytes(b.data(), b.size())));
      };
      EXPECT_EQ(updated(checksum(before), delta), checksum(after)) << offset;
    }
  }
}

// The short cut must say exactly what the walk says: on its own template, on every change of one
// byte of it, and on random lists.
TEST(RedirectOption, ShortCutAgreesWithTheWalk) {
  const Bytes usual = test::linux_options() + test::offer(RedirectForm::Address);
  const auto expect_same = [](const Bytes& list) {
    const auto slow = find_redirect_option(list);
    const auto quick = find_redirect_option_after_linux(list);
    ASSERT_EQ(slow.state, quick.state) << test::hex_dump(list);
    if (slow.state == OptionState::Malformed) return;
    ASSERT_EQ(slow.form, quick.form);
    ASSERT_EQ(slow.offset, quick.offset);
  };
  ASSERT_EQ(find_redirect_option_after_linux(usual).offset, 20);
  for (std::size_t at = 0; at < usual.size(); ++at) {
    for (unsigned value = 0; value < 256; ++value) {
      Bytes list = usual;
      list[at] = static_cast<std::uint8_t>(value);
      expect_same(list);
    }
  }
  std::mt19937 random(1);
  for (int i = 0; i < 100'000; ++i) {
    Bytes list(random() % 41);
    constexpr std::uint8_t kLikely[] = {0, 1, 2, 3, 4, 8, 10, 12, 42, 6, 253, 0xc4, 0xab, 0x12, 16};
    for (auto& byte : list) byte = kLikely[random() % std::size(kLikely)];
    expect_same(list);
  }
}

}  // namespace
}  // namespace crab
