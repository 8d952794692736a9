// SPDX-License-Identifier: Apache-2.0
#include "control/validate.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <fstream>

#include "control/prefix.h"
#include "tests/unit/control/test_server.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

// A configuration that is right, in two families; tests change one thing.
constexpr const char* kGood = R"(
node: 1
dataplane: {
  workers: 0
  ports: { vdev: "net_af_packet0,iface=lb0" addresses: "10.0.0.2/24" addresses: "fd00::2/64"
           gateways: "10.0.0.1" gateways: "fe80::1" }
}
control: { listen: "unix:/run/crab/control.sock" }
metrics: { listen: "127.0.0.1:9110" }
services: { name: "web" address: "10.0.0.100" port: 80
            backends: { id: "b1" address: "10.0.0.11" port: 8080 } }
services: { name: "web6" address: "fd00::100" port: 80
            backends: { id: "b1" address: "fd00::11" port: 8080 } }
agent: { allowed_prefixes: "10.0.0.0/8" allowed_prefixes: "fd00::/16" }
)";

v1::Config good() {
  v1::Config config;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(kGood, &config));
  return config;
}

std::vector<std::string> fields_of(const FieldErrors& errors) {
  std::vector<std::string> fields;
  for (const auto& [field, why] : errors) {
    EXPECT_THAT(why, ::testing::Not(IsEmpty())) << field;
    fields.push_back(field);
  }
  return fields;
}

TEST(Validate, AcceptsWhatIsRight) { EXPECT_THAT(validate_config(good()), IsEmpty()); }

// What is merged into the good configuration, repeated fields being added to, and the one field
// that is then in error, with a piece of why.
struct Rule {
  const char* name;
  const char* change;
  const char* field;
  const char* why;
};

class ValidateRule : public ::testing::TestWithParam<Rule> {};

TEST_P(ValidateRule, IsReportedAtItsField) {
  v1::Config config = good();
  v1::Config change;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(GetParam().change, &change));
  config.MergeFrom(change);
  const auto errors = validate_config(config);
  ASSERT_THAT(fields_of(errors), ElementsAre(GetParam().field));
  EXPECT_THAT(errors[0].why, HasSubstr(GetParam().why));
}

#define SERVICE(fields) "services: { name: 's' address: '10.0.0.101' port: 80 " fields " }"
#define SERVICE6(fields) "services: { name: 's' address: 'fd00::101' port: 80 " fields " }"
#define BACKEND(fields) SERVICE("backends: { id: 'x' " fields " }")
#define BACKEND6(fields) SERVICE6("backends: { id: 'x' " fields " }")
#define PORT(fields) "dataplane: { ports: { pci: '0000:3b:00.0' " fields " } }"

const Rule kRules[] = {
    {"ReportsNowhere", "load_reports: { listen: '10.0.0.2' }", "load_reports.listen[0]",
     "not ADDRESS:PORT"},
    {"ReportsAnywhere", "load_reports: { listen: '0.0.0.0:7471' }", "load_reports.listen[0]",
     "no address that agents can send to"},
    {"ReportsTwice", "load_reports: { listen: '[fd00::2]:7471' listen: '[fd00:0::2]:7471' }",
     "load_reports.listen[1]", "same address"},
    {"ReportsAndNone", "load_reports: { listen: '10.0.0.2:7471' listen: 'none' }",
     "load_reports.listen[1]", "stands alone"},
    {"Heartbeat", "load_reports: { heartbeat_ms: 60001 }", "load_reports.heartbeat_ms", "1 to"},
    {"Coalescing", "load_reports: { coalescing_us: 1000001 }", "load_reports.coalescing_us",
     "at most"},
    {"Silence", "load_reports: { min_silence_ms: 3600001 }", "load_reports.min_silence_ms", "1 to"},
    {"Ramp", SERVICE("slow_start: { ramp_seconds: 3601 }"), "services[2].slow_start.ramp_seconds",
     "at most 3600"},
    {"OrcaInterval", SERVICE("load_signal: { source: SOURCE_ORCA interval_ms: 9 }"),
     "services[2].load_signal.interval_ms", "10 to"},
    {"OrcaPort", SERVICE("load_signal: { source: SOURCE_ORCA port: 65536 }"),
     "services[2].load_signal.port", "1 to 65535"},
    {"MetricWithoutOrca", SERVICE("load_signal: { metric: 'queue' }"),
     "services[2].load_signal.metric", "orca alone"},
    {"NodeTooLarge", "node: 256", "node", "1 to 255"},
    {"WorkerTwice", "dataplane: { workers: 0 }", "dataplane.workers[1]", "CPU 0"},
    {"Memory", "dataplane: { memory_mib: 63 }", "dataplane.memory_mib", "64 to"},
    {"RecentSyns", "dataplane: { recent_syn_entries: 268435457 }", "dataplane.recent_syn_entries",
     "at most"},
    {"Answers", "dataplane: { answers_per_second: 100000001 }", "dataplane.answers_per_second",
     "at most"},
    {"NoDevice", "dataplane: { ports: {} }", "dataplane.ports[1]", "`vdev` or `pci`"},
    {"BadVdev", "dataplane: { ports: { vdev: 'eth0' } }", "dataplane.ports[1].vdev",
     "net_af_packet0"},
    {"VdevTwice", "dataplane: { ports: { vdev: 'net_af_packet0,iface=x' } }",
     "dataplane.ports[1].vdev", "ports[0].vdev too"},
    {"BadPci", "dataplane: { ports: { pci: '3b:00' } }", "dataplane.ports[1].pci", "0000:3b:00.0"},
    {"PciTwice", "dataplane: { ports: { pci: '3B:00.0' } ports: { pci: '0000:3b:00.0' } }",
     "dataplane.ports[2].pci", "ports[1].pci too"},
    {"HostInterfaceLong", PORT("host_interface: 'sixteen-bytes-xx'"),
     "dataplane.ports[1].host_interface", "1 to 15"},
    {"HostInterfaceSlash", PORT("host_interface: 'a/b'"), "dataplane.ports[1].host_interface",
     "1 to 15"},
    {"HostInterfaceTwice", PORT("host_interface: 'crab0'"), "dataplane.ports[1].host_interface",
     "ports[0].host_interface too"},
    {"AddressWithoutPrefix", PORT("addresses: '10.1.0.2'"), "dataplane.ports[1].addresses[0]",
     "ADDRESS/PREFIX_LENGTH"},
    {"PrefixTooLong4", PORT("addresses: '10.1.0.2/33'"), "dataplane.ports[1].addresses[0]",
     "ADDRESS/PREFIX_LENGTH"},
    {"PrefixTooLong6", PORT("addresses: 'fd01::2/129'"), "dataplane.ports[1].addresses[0]",
     "ADDRESS/PREFIX_LENGTH"},
    {"PrefixZero", PORT("addresses: 'fd01::2/0'"), "dataplane.ports[1].addresses[0]", "neighbour"},
    {"NetworkAddress", PORT("addresses: '10.1.0.0/24'"), "dataplane.ports[1].addresses[0]",
     "network's own"},
    {"BroadcastAddress", PORT("addresses: '10.1.0.255/24'"), "dataplane.ports[1].addresses[0]",
     "broadcast"},
    {"LoopbackAddress6", PORT("addresses: '::1/128'"), "dataplane.ports[1].addresses[0]",
     "loopback"},
    {"AddressTwice", PORT("addresses: '10.0.0.2/16'"), "dataplane.ports[1].addresses[0]",
     "ports[0].addresses[0] too"},
    {"GatewayNoAddress", PORT("gateways: 'router'"), "dataplane.ports[1].gateways[0]", "router"},
    {"GatewayOffLink4", PORT("gateways: '10.9.0.1'"), "dataplane.ports[1].gateways[0]",
     "none of the port's prefixes"},
    {"GatewayOffLink6", PORT("gateways: 'fd09::1'"), "dataplane.ports[1].gateways[0]",
     "none of the port's prefixes"},
    {"GatewayItself", PORT("addresses: '10.1.0.2/24' gateways: '10.1.0.2'"),
     "dataplane.ports[1].gateways[0]", "own address"},
    {"GatewaysOfAFamily",
     PORT("addresses: '10.1.0.2/24' gateways: '10.1.0.3' gateways: '10.1.0.4'"),
     "dataplane.ports[1].gateways[1]", "second default"},
    {"MtuSmall", PORT("mtu: 67"), "dataplane.ports[1].mtu", "68 to 9216"},
    {"MtuLarge", PORT("mtu: 9217"), "dataplane.ports[1].mtu", "68 to 9216"},
    {"MtuIpv6", PORT("mtu: 1279 addresses: 'fd01::2/64'"), "dataplane.ports[1].mtu", "1280"},
    {"ListenBareAddress", "control: { listen: '127.0.0.1:5000' }", "control.listen[1]",
     "unix:/PATH"},
    {"ListenRelative", "control: { listen: 'unix:x.sock' }", "control.listen[1]", "unix:/PATH"},
    {"ListenTwice", "control: { listen: 'unix:/run/crab/control.sock' }", "control.listen[1]",
     "again"},
    {"ListenLong",
     "control: { listen: 'unix:/0123456789012345678901234567890123456789012345678901234567890123"
     "4567890123456789012345678901234567890123456' }",
     "control.listen[1]", "107 bytes"},
    {"MetricsNoPort", "metrics: { listen: '127.0.0.1' }", "metrics.listen", "ADDRESS:PORT"},
    {"MetricsPort", "metrics: { listen: '127.0.0.1:65536' }", "metrics.listen", "ADDRESS:PORT"},
    {"MetricsBrackets", "metrics: { listen: '::1:9110' }", "metrics.listen", "ADDRESS:PORT"},
    {"AgentPrefix", "agent: { allowed_prefixes: '10.0.0.0' }", "agent.allowed_prefixes[2]",
     "ADDRESS/PREFIX_LENGTH"},
    {"AgentHostBits4", "agent: { allowed_prefixes: '10.1.2.3/16' }", "agent.allowed_prefixes[2]",
     "10.1.0.0/16 has not"},
    {"AgentHostBits6", "agent: { allowed_prefixes: 'fd00::1/64' }", "agent.allowed_prefixes[2]",
     "fd00::/64 has not"},
    {"NameMissing", "services: { address: '10.0.0.101' port: 80 }", "services[2].name", "missing"},
    {"NameShape", "services: { name: 'Web' address: '10.0.0.101' port: 80 }", "services[2].name",
     "lower-case"},
    {"NameHyphen", "services: { name: 'web-' address: '10.0.0.101' port: 80 }", "services[2].name",
     "hyphens"},
    {"NameTwice", "services: { name: 'web' address: '10.0.0.101' port: 80 }", "services[2].name",
     "second service"},
    {"AddressMissing", "services: { name: 's' port: 80 }", "services[2].address", "missing"},
    {"AddressNone", "services: { name: 's' address: '10.0.0' port: 80 }", "services[2].address",
     "'10.0.0' is not"},
    {"AddressMulticast4", "services: { name: 's' address: '224.0.0.1' port: 80 }",
     "services[2].address", "multicast"},
    {"AddressMulticast6", "services: { name: 's' address: 'ff02::1' port: 80 }",
     "services[2].address", "multicast"},
    {"AddressLinkLocal", "services: { name: 's' address: 'fe80::5' port: 80 }",
     "services[2].address", "link-local"},
    {"AddressMapped", "services: { name: 's' address: '::ffff:10.0.0.5' port: 80 }",
     "services[2].address", "IPv4-mapped"},
    {"AddressOwn4", "services: { name: 's' address: '10.0.0.2' port: 80 }", "services[2].address",
     "node itself"},
    {"AddressOwn6", "services: { name: 's' address: 'fd00::2' port: 80 }", "services[2].address",
     "node itself"},
    {"EndpointTwice4", "services: { name: 's' address: '10.0.0.100' port: 80 }",
     "services[2].address", "service 'web' already"},
    {"EndpointTwice6", "services: { name: 's' address: 'fd00:0::100' port: 80 }",
     "services[2].address", "service 'web6' already"},
    {"PortZero", "services: { name: 's' address: '10.0.0.101' }", "services[2].port", "1 to 65535"},
    {"PortLarge", "services: { name: 's' address: '10.0.0.101' port: 65536 }", "services[2].port",
     "1 to 65535"},
    {"PolicyUnknown", SERVICE("policy: { name: 'best' }"), "services[2].policy.name",
     "round_robin, random"},
    {"PolicyParameter", SERVICE("policy: { parameters: { key: 'd' value: '2' } }"),
     "services[2].policy.parameters", "'d' is unknown"},
    {"PolicyText", SERVICE("policy: { parameters: { key: 'd' value: '\\n' } }"),
     "services[2].policy.parameters", "printable"},
    {"KeyShape", SERVICE("keys: '00112233445566778899aabbccddeefg'"), "services[2].keys[0]",
     "hexadecimal"},
    {"KeyTwice",
     SERVICE("keys: '00112233445566778899aabbccddeeff' keys: '00112233445566778899aabbccddeeff'"),
     "services[2].keys[1]", "again"},
    {"KeyThree",
     SERVICE("keys: '00112233445566778899aabbccddee00' keys: '00112233445566778899aabbccddee01' "
             "keys: '00112233445566778899aabbccddee02'"),
     "services[2].keys", "two"},
    {"PaperIpv6", SERVICE6("option_form: OPTION_FORM_PAPER"), "services[2].option_form", "IPv4"},
    {"PaperKeyed",
     SERVICE("option_form: OPTION_FORM_PAPER keys: '00112233445566778899aabbccddeeff'"),
     "services[2].keys", "no tag"},
    {"PaperPort",
     SERVICE("option_form: OPTION_FORM_PAPER backends: { id: 'x' address: '10.0.0.12' port: 81 }"),
     "services[2].backends[0].port", "must equal"},
    {"ServiceOwner", SERVICE("owner: OWNER_API"), "services[2].owner", "filled in"},
    {"BackendOwner", BACKEND("address: '10.0.0.12' port: 1 owner: OWNER_API"),
     "services[2].backends[0].owner", "filled in"},
    {"BackendStatus", BACKEND("address: '10.0.0.12' port: 1 status: {}"),
     "services[2].backends[0].status", "filled in"},
    {"IdMissing", SERVICE("backends: { address: '10.0.0.12' port: 1 }"),
     "services[2].backends[0].id", "missing"},
    {"IdShape", SERVICE("backends: { id: 'a/b' address: '10.0.0.12' port: 1 }"),
     "services[2].backends[0].id", "characters"},
    {"IdTwice",
     SERVICE("backends: { id: 'x' address: '10.0.0.12' port: 1 } "
             "backends: { id: 'x' address: '10.0.0.12' port: 2 }"),
     "services[2].backends[1].id", "backends[0] too"},
    {"BackendTwice4",
     SERVICE("backends: { id: 'x' address: '10.0.0.12' port: 1 } "
             "backends: { id: 'y' address: '10.0.0.12' port: 1 }"),
     "services[2].backends[1].address", "backends[0] too"},
    {"BackendTwice6",
     SERVICE6("backends: { id: 'x' address: 'fd00::12' port: 1 } "
              "backends: { id: 'y' address: 'fd00:0::12' port: 1 }"),
     "services[2].backends[1].address", "backends[0] too"},
    {"Family4", BACKEND("address: 'fd00::12' port: 1"), "services[2].backends[0].address", "IPv4"},
    {"Family6", BACKEND6("address: '10.0.0.12' port: 1"), "services[2].backends[0].address",
     "IPv6"},
    {"BackendIsVip4", BACKEND("address: '10.0.0.100' port: 1"), "services[2].backends[0].address",
     "service 'web'"},
    {"BackendIsVip6", BACKEND6("address: 'fd00::100' port: 1"), "services[2].backends[0].address",
     "service 'web6'"},
    {"BackendIsItsVip", BACKEND("address: '10.0.0.101' port: 1"), "services[2].backends[0].address",
     "service 's'"},
    {"BackendIsOwn4", BACKEND("address: '10.0.0.2' port: 1"), "services[2].backends[0].address",
     "node itself"},
    {"BackendIsOwn6", BACKEND6("address: 'fd00::2' port: 1"), "services[2].backends[0].address",
     "node itself"},
    {"BackendLoopback", BACKEND("address: '127.0.0.1' port: 1"), "services[2].backends[0].address",
     "loopback"},
    {"BackendPort", BACKEND("address: '10.0.0.12' port: 65536"), "services[2].backends[0].port",
     "1 to 65535"},
    {"WeightZero", BACKEND("address: '10.0.0.12' port: 1 weight: 0"),
     "services[2].backends[0].weight", "1 to 65535"},
    {"WeightLarge", BACKEND("address: '10.0.0.12' port: 1 weight: 65536"),
     "services[2].backends[0].weight", "1 to 65535"},
};

INSTANTIATE_TEST_SUITE_P(All, ValidateRule, ::testing::ValuesIn(kRules),
                         [](const auto& test) { return test.param.name; });

TEST(Validate, AnEmptyConfigurationLacksThese) {
  EXPECT_THAT(fields_of(validate_config({})),
              UnorderedElementsAre("node", "dataplane.workers", "dataplane.ports"));
}

TEST(Validate, CountsHaveLimits) {
  v1::Config config = good();
  for (int i = 0; i < kMaxBackendsPerService; ++i) {
    auto* backend = config.mutable_services(0)->add_backends();
    backend->set_id("c" + std::to_string(i));
    backend->set_address("10.0.0.12");
    backend->set_port(static_cast<std::uint32_t>(1 + i));
  }
  for (std::uint32_t i = 1; i <= kMaxWorkers; ++i) config.mutable_dataplane()->add_workers(i);
  for (int i = 0; i < kMaxListeners; ++i) {
    config.mutable_control()->add_listen("unix:/run/" + std::to_string(i));
  }
  for (int i = 1; i <= kMaxConfiguredPorts; ++i) {
    config.mutable_dataplane()->add_ports()->set_vdev("net_null" + std::to_string(i));
  }
  EXPECT_THAT(fields_of(validate_config(config)),
              UnorderedElementsAre("dataplane.workers", "dataplane.ports", "control.listen",
                                   "services[0].backends"));
}

TEST(Validate, TheFileIsCheckedWithLinesAndGetsItsDefaults) {
  TemporaryDirectory directory;
  const std::string path = directory.path() / "crab.yaml";
  std::ofstream(path) << R"(node: 0
dataplane:
  workers: [0]
  ports:
    - vdev: net_af_packet0,iface=lb0
    - pci: 0000:3b:00.0
services:
  - name: web
    address: 10.0.0.100
    port: high
    backends:
      - id: b1
        address: 10.0.0.100
        port: 80
)";
  EXPECT_THAT(
      load_and_validate(path).errors(),
      ElementsAre(path + ":1: node: must be 1 to 255",
                  path + ":10: services[0].port: 'high' is not a whole decimal number",
                  path + ":13: services[0].backends[0].address: 10.0.0.100 is the virtual address "
                         "of service 'web'"));
  std::ofstream(path) << R"(node: 1
dataplane: { workers: [0], ports: [ { vdev: net_null0 }, { pci: "0000:3b:00.0" } ] }
)";
  const ConfigFile file = load_and_validate(path);
  EXPECT_THAT(file.errors(), IsEmpty());
  const auto& dataplane = file.config().dataplane();
  EXPECT_EQ(dataplane.memory_mib(), 256u);
  EXPECT_EQ(dataplane.recent_syn_entries(), 1u << 20);
  EXPECT_EQ(dataplane.answers_per_second(), 10'000u);
  EXPECT_EQ(dataplane.idle(), v1::IDLE_SLEEP);
  EXPECT_EQ(dataplane.ports(0).host_interface(), "crab0");
  EXPECT_EQ(dataplane.ports(1).host_interface(), "crab1");
  EXPECT_EQ(dataplane.ports(0).mtu(), 1500u);
  EXPECT_EQ(dataplane.ports(0).checksum(), v1::CHECKSUM_COMPLETE);
  EXPECT_EQ(dataplane.ports(1).checksum(), v1::CHECKSUM_TRUST);
  EXPECT_THAT(file.config().control().listen(), ElementsAre("unix:/run/crab/control.sock"));
}

TEST(Prefix, ContainsItsHosts) {
  const auto at = [](const char* text) { return *IpAddress::parse(text); };
  const auto v4 = Prefix::parse("10.1.2.3/20");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->first(), at("10.1.0.0"));
  EXPECT_EQ(v4->last(), at("10.1.15.255"));
  EXPECT_TRUE(v4->contains(at("10.1.15.1")));
  EXPECT_FALSE(v4->contains(at("10.1.16.1")));
  EXPECT_FALSE(v4->contains(at("::")));
  const auto v6 = Prefix::parse("fd00::1/63");
  ASSERT_TRUE(v6);
  EXPECT_TRUE(v6->contains(at("fd00:0:0:1::9")));
  EXPECT_FALSE(v6->contains(at("fd00:0:0:2::9")));
  EXPECT_TRUE(Prefix::parse("0.0.0.0/0")->contains(at("255.255.255.255")));
  for (const char* bad : {"10.0.0.1", "10.0.0.1/", "10.0.0.1/-1", "10.0.0.1/8x", "/8", "x/8"}) {
    EXPECT_FALSE(Prefix::parse(bad)) << bad;
  }
}

}  // namespace
}  // namespace crab
