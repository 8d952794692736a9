// SPDX-License-Identifier: Apache-2.0
#include "control/config_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ConfigFile, ReadsEveryKindOfField) {
  const auto file = ConfigFile::parse(R"(
node: 7
dataplane:
  workers: [0, 2]
  hugepages: true
  idle: sleep
  ports:
    - vdev: net_af_packet0,iface=lb0
      addresses: [10.0.0.2/24, "fd00::2/64"]
      checksum: CHECKSUM_TRUST
    - pci: 0000:3b:00.0
control:
metrics: { listen: 127.0.0.1:9110 }
services:
  - name: web
    address: 10.0.0.100
    port: 80
    policy: { name: power_of_two, parameters: { d: 2, tie: first } }
    option_form: paper
    announce: none
    keys: [00112233445566778899aabbccddeeff]
    backends:
      - { id: 1, address: 10.0.0.11, port: 80, weight: 3 }
  - name: web6
    address: fd00::100
agent: { allowed_prefixes: [10.0.0.0/8] }
)",
                                      "crab.yaml");
  EXPECT_THAT(file.errors(), ElementsAre());
  const auto& config = file.config();
  EXPECT_EQ(config.node(), 7u);
  EXPECT_THAT(config.dataplane().workers(), ElementsAre(0u, 2u));
  EXPECT_TRUE(config.dataplane().hugepages());
  EXPECT_EQ(config.dataplane().idle(), v1::IDLE_SLEEP);
  ASSERT_EQ(config.dataplane().ports_size(), 2);
  EXPECT_EQ(config.dataplane().ports(0).vdev(), "net_af_packet0,iface=lb0");
  EXPECT_THAT(config.dataplane().ports(0).addresses(), ElementsAre("10.0.0.2/24", "fd00::2/64"));
  EXPECT_EQ(config.dataplane().ports(0).checksum(), v1::CHECKSUM_TRUST);
  EXPECT_EQ(config.dataplane().ports(1).pci(), "0000:3b:00.0");
  EXPECT_EQ(config.metrics().listen(), "127.0.0.1:9110");
  ASSERT_EQ(config.services_size(), 2);
  const auto& web = config.services(0);
  EXPECT_EQ(web.policy().parameters().at("d"), "2");
  EXPECT_EQ(web.policy().parameters().at("tie"), "first");
  EXPECT_EQ(web.option_form(), v1::OPTION_FORM_PAPER);
  EXPECT_EQ(web.announce(), v1::ANNOUNCE_NONE);
  EXPECT_THAT(web.keys(), ElementsAre("00112233445566778899aabbccddeeff"));
  EXPECT_EQ(web.backends(0).id(), "1");
  EXPECT_EQ(web.backends(0).weight(), 3u);
  EXPECT_TRUE(web.backends(0).has_weight());
  EXPECT_EQ(config.services(1).address(), "fd00::100");
  EXPECT_THAT(config.agent().allowed_prefixes(), ElementsAre("10.0.0.0/8"));
}

struct BadFile {
  const char* name;
  const char* text;
  const char* error;  // the one line that is expected
};

class ConfigFileError : public ::testing::TestWithParam<BadFile> {};

TEST_P(ConfigFileError, IsOneLineWithItsPlace) {
  EXPECT_THAT(ConfigFile::parse(GetParam().text, "f").errors(), ElementsAre(GetParam().error));
}

const BadFile kBadFiles[] = {
    {"Empty", "# nothing\n", "f: is empty"},
    {"NotAMap", "- 1\n", "f: must be a group of fields (a YAML map)"},
    {"Syntax", "node: 1\nservices: [\n", "f:3: not valid YAML: end of sequence flow not found"},
    {"TwoDocuments", "node: 1\n---\nnode: 2\n", "f:3: a second YAML document; one is the limit"},
    {"UnknownField", "node: 1\nnodes: 2\n",
     "f:2: nodes: unknown field; known are node, dataplane, control, metrics, services, agent, "
     "load_reports, policy_directory"},
    {"UnknownInnerField", "services:\n  - name: a\n    backends:\n      - id: x\n        ip: y\n",
     "f:5: services[0].backends[0].ip: unknown field; known are id, address, port, weight, status, "
     "owner, lease_id, etag"},
    {"Twice", "node: 1\ncontrol:\nnode: 2\n",
     "f:3: node (again): stands twice; the first is at line 1"},
    {"TwiceInMap", "services:\n- policy:\n    parameters:\n      d: 1\n      d: 2\n",
     "f:5: services[0].policy.parameters.d (again): stands twice; the first is at line 4"},
    {"ListForScalar", "node: [1]\n", "f:1: node: must be a single value"},
    {"ScalarForList", "\nservices: web\n", "f:2: services: must be a list"},
    {"ScalarForMessage", "control: x\n", "f:1: control: must be a group of fields (a YAML map)"},
    {"ScalarForMap", "services:\n- policy: { parameters: [d] }\n",
     "f:2: services[0].policy.parameters: must be a list of `name: value` pairs (a YAML map)"},
    {"NoValue", "node:\n", "f:1: node: has no value"},
    {"NotANumber", "node: one\n", "f:1: node: 'one' is not a whole decimal number"},
    {"Octal", "node: 010\n", "f:1: node: '010' is not a whole decimal number"},
    {"Hex", "node: 0x10\n", "f:1: node: '0x10' is not a whole decimal number"},
    {"Fraction", "node: 1.5\n", "f:1: node: '1.5' is not a whole decimal number"},
    {"Minus", "node: '-'\n", "f:1: node: '-' is not a whole decimal number"},
    {"EmptyNumber", "node: ''\n", "f:1: node: '' is not a whole decimal number"},
    {"Negative", "node: -1\n", "f:1: node: -1 is out of range: 0 to 4294967295"},
    {"TooLarge", "node: 4294967296\n", "f:1: node: 4294967296 is out of range: 0 to 4294967295"},
    {"NotABool", "dataplane:\n  hugepages: yes\n",
     "f:2: dataplane.hugepages: 'yes' is neither true nor false"},
    {"EnumName", "dataplane:\n  idle: nap\n", "f:2: dataplane.idle: 'nap' is none of poll, sleep"},
    {"EnumUnspecified", "dataplane:\n  idle: unspecified\n",
     "f:2: dataplane.idle: 'unspecified' is none of poll, sleep"},
    {"Oneof", "dataplane:\n  ports:\n    - vdev: a\n      pci: b\n",
     "f:4: dataplane.ports[0].pci: excludes `vdev`, which is set too"},
    {"KeyNotAWord", "? [a, b]\n: 1\n", "f: has a key that is not a plain word"},
};

INSTANTIATE_TEST_SUITE_P(All, ConfigFileError, ::testing::ValuesIn(kBadFiles),
                         [](const auto& test) { return test.param.name; });

TEST(ConfigFile, ReportsAllErrorsInTheOrderOfTheFile) {
  auto file = ConfigFile::parse("node: x\nservices:\n- port: y\n  nme: web\n", "f");
  file.add_errors({{"services[0].name", "is missing"}, {"node", "is missing"}, {"", "whole file"}});
  EXPECT_THAT(file.errors(),
              ElementsAre("f: whole file", HasSubstr("f:1: node: 'x'"),
                          HasSubstr("f:3: services[0].port: 'y'"),
                          "f:3: services[0].name: is missing", HasSubstr("f:4: services[0].nme")));
}

TEST(ConfigFile, SaysWhyItCannotRead) {
  EXPECT_THAT(ConfigFile::load("/nonexistent/crab.yaml").errors(),
              ElementsAre("/nonexistent/crab.yaml: cannot be read: No such file or directory"));
  EXPECT_THAT(ConfigFile::load("/").errors(), ElementsAre("/: cannot be read: Is a directory"));
}

TEST(ConfigFile, LoadsFromDisk) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("crab_config_file_test." + std::to_string(getpid()));
  std::ofstream(path) << "node: 3\n";
  const auto file = ConfigFile::load(path);
  std::filesystem::remove(path);
  EXPECT_THAT(file.errors(), ElementsAre());
  EXPECT_EQ(file.config().node(), 3u);
}

}  // namespace
}  // namespace crab
