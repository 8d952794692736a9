// SPDX-License-Identifier: Apache-2.0
// The messages byte for byte. Netlink is in host order: the texts are a little-endian machine's.
#include "kernel_patch/agent/redirect_messages.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstring>

#include "fake_kernel.h"
#include "kernel_patch/agent/mapped_address.h"

namespace crab {
namespace {

constexpr std::uint16_t kFamily = 31;

std::pair<crab_service_key, crab_service> service(const char* address, std::uint16_t port,
                                                  std::uint8_t form, unsigned n_keys = 0) {
  crab_service_key key{};
  key.vip = to_mapped(*IpAddress::parse(address));
  key.port = htons(port);
  crab_service terms{};
  terms.form = form;
  terms.n_keys = static_cast<__u8>(n_keys);
  for (unsigned i = 0; i < n_keys; ++i) {
    std::memset(terms.keys[i], static_cast<int>(0xa0 + i), CRAB_KEY_LEN);
  }
  return {key, terms};
}

EndpointConfig example() {
  EndpointConfig config;
  config.services = {service("10.0.0.100", 80, CRAB_OPT_LEN_ADDR),
                     service("fd00::100", 443, CRAB_OPT_LEN_TAG, 2)};
  for (const char* text : {"fd00::/8", "10.0.0.0/24", "fd00::/8"}) {
    config.prefixes.push_back(to_mapped(*Prefix::parse(text)));
  }
  return config;
}

std::string hex(const NetlinkMessage& message) {
  std::string text;
  for (std::size_t i = 0; i < message.size(); ++i) {
    fmt::format_to(std::back_inserter(text), "{:02x}{}", message[i], i % 4 == 3 ? "\n" : " ");
  }
  return text;
}

TEST(RedirectMessages, ACommandIsAHeader) {
  EXPECT_EQ(hex(encode_command(TCP_REDIRECT_CMD_GET_INFO)),
            "14 00 00 00\n00 00 00 00\n00 00 00 00\n00 00 00 00\n"
            "01 01 00 00\n");
}

TEST(RedirectMessages, SetByteForByte) {
  EXPECT_EQ(hex(encode_set(CRAB_ROLE_CLIENT | CRAB_ROLE_SERVER, example())),
            "bc 00 00 00\n00 00 00 00\n00 00 00 00\n00 00 00 00\n"
            "02 01 00 00\n"
            // roles
            "05 00 04 00\n03 00 00 00\n"
            // 10.0.0.100:80, form 12
            "1c 00 0b 80\n"
            "08 00 01 00\n0a 00 00 64\n"
            "06 00 02 00\n00 50 00 00\n"
            "05 00 03 00\n0c 00 00 00\n"
            // [fd00::100]:443, form 16, two keys
            "50 00 0b 80\n"
            "14 00 01 00\nfd 00 00 00\n00 00 00 00\n00 00 00 00\n00 00 01 00\n"
            "06 00 02 00\n01 bb 00 00\n"
            "05 00 03 00\n10 00 00 00\n"
            "14 00 04 00\na0 a0 a0 a0\na0 a0 a0 a0\na0 a0 a0 a0\na0 a0 a0 a0\n"
            "14 00 04 00\na1 a1 a1 a1\na1 a1 a1 a1\na1 a1 a1 a1\na1 a1 a1 a1\n"
            // fd00::/8, once, and 10.0.0.0/24
            "20 00 0c 80\n"
            "14 00 01 00\nfd 00 00 00\n00 00 00 00\n00 00 00 00\n00 00 00 00\n"
            "05 00 02 00\n08 00 00 00\n"
            "14 00 0c 80\n"
            "08 00 01 00\n0a 00 00 00\n"
            "05 00 02 00\n18 00 00 00\n");
}

TEST(RedirectMessages, AnEmptySetTurnsEverythingOff) {
  EXPECT_EQ(hex(encode_set(0, {})),
            "1c 00 00 00\n00 00 00 00\n00 00 00 00\n00 00 00 00\n"
            "02 01 00 00\n"
            "05 00 04 00\n00 00 00 00\n");
}

TEST(RedirectMessages, TheMostThatThereMayBeFits) {
  EndpointConfig config;
  for (unsigned i = 0; i < CRAB_MAX_SERVICES; ++i) {
    config.services.push_back(
        service("fd00::100", static_cast<std::uint16_t>(i + 1), CRAB_OPT_LEN_TAG, 2));
  }
  for (unsigned i = 0; i < CRAB_MAX_PREFIXES; ++i) {
    config.prefixes.push_back(to_mapped(*Prefix::parse(fmt::format("fd00:{:x}::/32", i))));
  }
  const NetlinkMessage message = encode_set(CRAB_ROLE_CLIENT, config);
  EXPECT_EQ(message.size(), 28U + CRAB_MAX_SERVICES * 80 + CRAB_MAX_PREFIXES * 32);
}

TEST(RedirectMessages, AnOffsetIsAFieldOfTheConfiguration) {
  const NetlinkMessage message = encode_set(CRAB_ROLE_CLIENT, example());
  EXPECT_EQ(attribute_at(message, 20), "roles");
  EXPECT_EQ(attribute_at(message, 28), "services[0] 10.0.0.100:80");
  EXPECT_EQ(attribute_at(message, 40), "services[0] 10.0.0.100:80: port");
  EXPECT_EQ(attribute_at(message, 84), "services[1] [fd00::100]:443: port");
  EXPECT_EQ(attribute_at(message, 92), "services[1] [fd00::100]:443: option_form");
  EXPECT_EQ(attribute_at(message, 120), "services[1] [fd00::100]:443: keys");
  EXPECT_EQ(attribute_at(message, 136), "allowed_prefixes[0] fd00::/8");
  EXPECT_EQ(attribute_at(message, 160), "allowed_prefixes[0] fd00::/8: length");
  EXPECT_EQ(attribute_at(message, 176), "allowed_prefixes[1] 10.0.0.0/24: address");
  EXPECT_EQ(attribute_at(message, 4096), "");
}

void put_info(nlmsghdr* header) {
  mnl_attr_put_u8(header, TCP_REDIRECT_A_IMPLEMENTATION, TCP_REDIRECT_IMPLEMENTATION_MODULE);
  mnl_attr_put_strz(header, TCP_REDIRECT_A_VERSION, "1.0");
  mnl_attr_put_u8(header, TCP_REDIRECT_A_ROLES, 3);
  mnl_attr_put_u32(header, TCP_REDIRECT_A_N_SERVICES, 4);
  mnl_attr_put_u32(header, TCP_REDIRECT_A_N_PREFIXES, 5);
  mnl_attr_put_u32(header, TCP_REDIRECT_A_N_PENDING, 6);
  mnl_attr_put_u32(header, TCP_REDIRECT_A_MAX_PENDING, 7);
  mnl_attr_put_u32(header, TCP_REDIRECT_A_N_ECHOES, 8);
}

TEST(RedirectMessages, InfoIsReadWholeOrNotAtAll) {
  const Datagram whole = record(kFamily, [](nlmsghdr* header) {
    put_info(header);
    mnl_attr_put_u32(header, TCP_REDIRECT_A_MAX_ECHOES, 9);
  });
  EXPECT_EQ(decode_info(reinterpret_cast<const nlmsghdr*>(whole.data())),
            (RedirectInfo{1, "1.0", 3, 4, 5, 6, 7, 8, 9}));
  const Datagram short_one = record(kFamily, put_info);
  EXPECT_EQ(decode_info(reinterpret_cast<const nlmsghdr*>(short_one.data())), std::nullopt);
  const Datagram too_wide = record(kFamily, [](nlmsghdr* header) {
    put_info(header);
    mnl_attr_put_u64(header, TCP_REDIRECT_A_MAX_ECHOES, 9);
  });
  EXPECT_EQ(decode_info(reinterpret_cast<const nlmsghdr*>(too_wide.data())), std::nullopt);
}

// A nested record in a message of its own.
template <typename Put>
Datagram nested(std::uint16_t type, const Put& put) {
  return record(kFamily, [&](nlmsghdr* header) {
    nlattr* nest = mnl_attr_nest_start(header, type);
    put(header);
    mnl_attr_nest_end(header, nest);
  });
}

const nlmsghdr* message_of(const Datagram& datagram) {
  return reinterpret_cast<const nlmsghdr*>(datagram.data());
}

TEST(RedirectMessages, ServicesAreRead) {
  std::vector<std::pair<crab_service_key, crab_service>> services;
  const auto put = [](nlmsghdr* header) {
    mnl_attr_put(header, TCP_REDIRECT_SERVICE_A_ADDRESS, 4, "\x0a\x00\x00\x64");
    mnl_attr_put(header, TCP_REDIRECT_SERVICE_A_PORT, 2, "\x00\x50");
    mnl_attr_put_u8(header, TCP_REDIRECT_SERVICE_A_FORM, CRAB_OPT_LEN_ADDR_TAG);
  };
  EXPECT_FALSE(decode_services(message_of(nested(TCP_REDIRECT_A_SERVICE, put)), &services))
      << "without the number of keys";
  EXPECT_TRUE(services.empty());
  EXPECT_TRUE(decode_services(message_of(nested(TCP_REDIRECT_A_SERVICE,
                                                [&put](nlmsghdr* header) {
                                                  put(header);
                                                  mnl_attr_put_u8(header,
                                                                  TCP_REDIRECT_SERVICE_A_N_KEYS, 2);
                                                })),
                              &services));
  ASSERT_EQ(services.size(), 1U);
  EXPECT_EQ(endpoint_text(services[0].first.vip, services[0].first.port), "10.0.0.100:80");
  EXPECT_EQ(services[0].second.form, CRAB_OPT_LEN_ADDR_TAG);
  EXPECT_EQ(services[0].second.n_keys, 2);
}

TEST(RedirectMessages, PrefixesAreRead) {
  std::vector<crab_prefix> prefixes;
  const auto with_length = [](std::uint8_t length) {
    return nested(TCP_REDIRECT_A_PREFIX, [length](nlmsghdr* header) {
      mnl_attr_put(header, TCP_REDIRECT_PREFIX_A_ADDRESS, 4, "\x0a\x00\x00\x00");
      mnl_attr_put_u8(header, TCP_REDIRECT_PREFIX_A_LENGTH, length);
    });
  };
  EXPECT_TRUE(decode_prefixes(message_of(with_length(24)), &prefixes));
  ASSERT_EQ(prefixes.size(), 1U);
  EXPECT_EQ(prefixes[0].length, 24U + kMappedPrefixBits);
  EXPECT_FALSE(decode_prefixes(message_of(with_length(33)), &prefixes));
}

TEST(RedirectMessages, CountersHaveTheirMeaning) {
  std::vector<CounterReading> counters;
  for (const char* name : {"redirected", "of_a_later_version"}) {
    EXPECT_TRUE(decode_counters(
        message_of(nested(TCP_REDIRECT_A_COUNTER,
                          [name](nlmsghdr* header) {
                            mnl_attr_put_strz(header, TCP_REDIRECT_COUNTER_A_NAME, name);
                            mnl_attr_put_u64(header, TCP_REDIRECT_COUNTER_A_VALUE, 7);
                          })),
        &counters));
  }
  ASSERT_EQ(counters.size(), 2U);
  EXPECT_EQ(counters[0],
            (CounterReading{"redirected",
                            "SYN-ACKs that passed every check and re-keyed their socket", 7}));
  EXPECT_EQ(counters[1], (CounterReading{"of_a_later_version", "", 7}));
}

TEST(RedirectMessages, AcceptedConnectionsAreRead) {
  std::vector<AcceptedReading> accepted;
  const auto from = [](std::uint8_t node) {
    return nested(TCP_REDIRECT_A_ACCEPTED, [node](nlmsghdr* header) {
      mnl_attr_put(header, TCP_REDIRECT_ACCEPTED_A_ADDRESS, 4, "\x0a\x00\x00\x0b");
      mnl_attr_put(header, TCP_REDIRECT_ACCEPTED_A_PORT, 2, "\x1f\x90");
      mnl_attr_put_u8(header, TCP_REDIRECT_ACCEPTED_A_NODE, node);
      mnl_attr_put_u64(header, TCP_REDIRECT_ACCEPTED_A_COUNT, 5);
    });
  };
  EXPECT_FALSE(decode_accepted(message_of(from(0)), &accepted)) << "no node has number 0";
  EXPECT_TRUE(decode_accepted(message_of(from(200)), &accepted));
  ASSERT_EQ(accepted.size(), 1U);
  EXPECT_EQ(accepted[0], (AcceptedReading{*SocketAddress::parse("10.0.0.11:8080"), 200, 5}));
}

}  // namespace
}  // namespace crab
