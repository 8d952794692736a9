// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/endpoint_config.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "kernel_patch/agent/agent_error.h"
#include "kernel_patch/agent/mapped_address.h"

namespace crab {
namespace {

using testing::HasSubstr;

// A file with that content, gone at the end of the test.
class File {
 public:
  explicit File(const std::string& content) {
    const int fd = mkstemp(path_.data());
    if (fd >= 0) close(fd);
    std::ofstream(path_) << content;
  }
  ~File() { unlink(path_.c_str()); }
  const std::string& path() const { return path_; }

 private:
  std::string path_ = "/tmp/endpoint-config-XXXXXX";
};

std::string error_of(const std::string& content) {
  const File file(content);
  try {
    load_endpoint_config(file.path());
  } catch (const AgentError& error) {
    return error.what();
  }
  return {};
}

constexpr char kBoth[] = R"(
services:
  - { name: four, address: 10.0.0.100, port: 80 }
  - { name: six, address: "fd00::100", port: 443 }
agent: { allowed_prefixes: [ 10.0.0.0/24, "fd00::/64" ] }
)";

EndpointChoice choice_in(const std::string& agent) {
  const File file("agent: { " + agent + " }\n");
  return load_endpoint_config(file.path()).choice;
}

TEST(EndpointConfig, TakesTheKindOfEndpoint) {
  EXPECT_EQ(choice_in(""), EndpointChoice::Auto);
  EXPECT_EQ(choice_in("endpoint: auto"), EndpointChoice::Auto);
  EXPECT_EQ(choice_in("endpoint: ebpf"), EndpointChoice::Ebpf);
  EXPECT_EQ(choice_in("endpoint: netfilter"), EndpointChoice::Netfilter);
  EXPECT_EQ(choice_in("endpoint: kernel"), EndpointChoice::Kernel);
  EXPECT_THAT(error_of("agent: { endpoint: nftables }\n"),
              HasSubstr("agent.endpoint: 'nftables' is none of auto, ebpf, netfilter, kernel"));
}

TEST(EndpointConfig, TakesServicesOfBothFamilies) {
  const File file(kBoth);
  const EndpointConfig config = load_endpoint_config(file.path());
  ASSERT_EQ(config.services.size(), 2U);
  const auto& [four, four_terms] = config.services[0];
  EXPECT_EQ(endpoint_text(four.vip, four.port), "10.0.0.100:80");
  EXPECT_EQ(four.vip.w[2], htonl(0xffff));
  EXPECT_EQ(four_terms.form, CRAB_OPT_LEN_ADDR);
  EXPECT_EQ(four_terms.n_keys, 0);
  const auto& [six, six_terms] = config.services[1];
  EXPECT_EQ(endpoint_text(six.vip, six.port), "[fd00::100]:443");
  EXPECT_EQ(six_terms.form, CRAB_OPT_LEN_TAG);
}

TEST(EndpointConfig, CountsPrefixLengthsInMappedAddresses) {
  const File file(kBoth);
  const EndpointConfig config = load_endpoint_config(file.path());
  ASSERT_EQ(config.prefixes.size(), 2U);
  EXPECT_EQ(config.prefixes[0].length, 96U + 24U);
  EXPECT_EQ(from_mapped(config.prefixes[0].addr).to_string(), "10.0.0.0");
  EXPECT_EQ(config.prefixes[1].length, 64U);
}

TEST(EndpointConfig, KeysChooseTheFormAndKeepTheirOrder) {
  const File file(R"(
services:
  - name: keyed
    address: 10.0.0.100
    port: 80
    keys: [ 000102030405060708090a0b0c0d0e0f, ffeeddccbbaa99887766554433221100 ]
)");
  const EndpointConfig config = load_endpoint_config(file.path());
  const crab_service& terms = config.services.at(0).second;
  EXPECT_EQ(terms.form, CRAB_OPT_LEN_ADDR_TAG);
  ASSERT_EQ(terms.n_keys, 2);
  EXPECT_EQ(terms.keys[0][0], 0x00);
  EXPECT_EQ(terms.keys[0][15], 0x0f);
  EXPECT_EQ(terms.keys[1][0], 0xff);
  EXPECT_EQ(terms.keys[1][15], 0x00);
}

TEST(EndpointConfig, PaperFormOffersNothing) {
  const File file("services: [ { name: p, address: 10.0.0.100, port: 80, option_form: paper } ]\n");
  EXPECT_EQ(load_endpoint_config(file.path()).services.at(0).second.form, CRAB_PAPER_OPT_LEN);
}

TEST(EndpointConfig, ErrorsNameTheLine) {
  EXPECT_THAT(error_of("services:\n  - name: a\n    address: 10.0.0.300\n    port: 80\n"),
              HasSubstr(":3: services[0].address: "));
  EXPECT_THAT(error_of("services:\n  - { name: a, address: 10.0.0.1, port: 80, keys: [ 00 ] }\n"),
              HasSubstr(":2: services[0].keys[0]: "));
  EXPECT_THAT(error_of("agent:\n  allowed_prefixes: [ 10.0.0.1/8 ]\n"),
              HasSubstr(":2: agent.allowed_prefixes[0]: "));
  EXPECT_THAT(error_of("servces: []\n"), HasSubstr(":1: servces"));
}

TEST(EndpointConfig, TwoServicesCannotShareAnAddressAndPort) {
  EXPECT_THAT(error_of("services:\n"
                       "  - { name: a, address: \"fd00::1\", port: 80 }\n"
                       "  - { name: b, address: \"fd00:0::1\", port: 80 }\n"),
              HasSubstr(":3: services[1].address: "));
}

TEST(EndpointConfig, AMissingFileIsAnError) {
  EXPECT_THROW(load_endpoint_config("/nowhere.yaml"), AgentError);
}

}  // namespace
}  // namespace crab
