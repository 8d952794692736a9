// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "lb/redirect_option.h"
#include "tests/packet/frame.h"

extern "C" {
#include "tag.h"
}

namespace crab {
namespace {

using test::ip;
using Key = std::array<std::uint8_t, CRAB_KEY_LEN>;

template <std::size_t kSize>
std::array<std::uint8_t, kSize> parse_hex(const std::string& hex) {
  std::array<std::uint8_t, kSize> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(std::stoul(hex.substr(2 * i, 2), nullptr, 16));
  }
  return bytes;
}

struct Vector {
  Key key;
  IpAddress vip, backend, client;
  std::uint16_t vport, dport, client_port;
  std::uint32_t isn;
  Tag tag;

  tcp_redirect_tag_input input() const {
    return {vip.bytes.data(),
            backend.bytes.data(),
            client.bytes.data(),
            static_cast<unsigned>(vip.size()),
            __builtin_bswap16(vport),
            __builtin_bswap16(dport),
            __builtin_bswap16(client_port),
            __builtin_bswap32(isn)};
  }
};

std::vector<Vector> vectors() {
  std::ifstream file(TAG_VECTORS);
  std::vector<Vector> found;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream fields(line);
    std::string key, vip, dip, client, isn, client_key, tag;
    Vector v{};
    fields >> key >> vip >> v.vport >> dip >> v.dport >> client >> v.client_port >> isn >>
        client_key >> tag;
    v.key = parse_hex<CRAB_KEY_LEN>(key);
    v.vip = ip(vip);
    v.backend = ip(dip);
    v.client = ip(client);
    v.isn = static_cast<std::uint32_t>(std::stoul(isn, nullptr, 16));
    v.tag = parse_hex<CRAB_OPT_TAG_LEN>(tag);
    found.push_back(v);
  }
  return found;
}

TEST(KernelTag, Vectors) {
  ASSERT_GE(vectors().size(), 3U);
  for (const Vector& v : vectors()) {
    const auto input = v.input();
    Tag tag;
    tcp_redirect_make_tag(v.key.data(), &input, tag.data());
    EXPECT_EQ(tag, v.tag);
  }
}

TEST(KernelTag, ValidUnderEitherKeyAndNoOther) {
  for (const Vector& v : vectors()) {
    const auto input = v.input();
    const Key other{1, 2, 3};
    std::array<Key, 2> keys{other, v.key};
    EXPECT_TRUE(tcp_redirect_tag_valid(keys[0].data(), 2, &input, v.tag.data()));
    EXPECT_FALSE(tcp_redirect_tag_valid(keys[0].data(), 1, &input, v.tag.data()));
    EXPECT_FALSE(tcp_redirect_tag_valid(keys[0].data(), 0, &input, v.tag.data()));
    std::swap(keys[0], keys[1]);
    EXPECT_TRUE(tcp_redirect_tag_valid(keys[0].data(), 2, &input, v.tag.data()));
  }
}

TEST(KernelTag, EveryBitCounts) {
  for (const Vector& v : vectors()) {
    const auto input = v.input();
    for (unsigned bit = 0; bit < 8 * CRAB_OPT_TAG_LEN; ++bit) {
      Tag tag = v.tag;
      tag[bit / 8] ^= static_cast<std::uint8_t>(1U << bit % 8);
      EXPECT_FALSE(tcp_redirect_tag_valid(v.key.data(), 1, &input, tag.data())) << bit;
    }
    auto moved = input;
    moved.isn ^= 1;
    EXPECT_FALSE(tcp_redirect_tag_valid(v.key.data(), 1, &moved, v.tag.data()));
    moved = input;
    moved.dport ^= 1;
    EXPECT_FALSE(tcp_redirect_tag_valid(v.key.data(), 1, &moved, v.tag.data()));
  }
}

}  // namespace
}  // namespace crab
