// SPDX-License-Identifier: Apache-2.0
// What crab-lb makes of its configuration before it touches the machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/eal.h"
#include "lb/host_interface.h"
#include "lb/port.h"

namespace crab {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::string why_refused(const v1::Port& port) {
  try {
    plan_port(port, 0, 1);
  } catch (const StartupError& error) {
    return error.what();
  }
  return "accepted";
}

v1::Port vdev(const std::string& text) {
  v1::Port port;
  port.set_vdev(text);
  return port;
}

TEST(PortPlan, CompletesTheArgumentsOfAfPacket) {
  const PortPlan plan = plan_port(vdev("net_af_packet0,iface=lb0"), 0, 2);
  EXPECT_EQ(plan.device, "net_af_packet0");
  EXPECT_EQ(plan.driver, "net_af_packet");
  EXPECT_EQ(plan.kernel_interface, "lb0");
  EXPECT_EQ(plan.host_interface, "crab0");
  EXPECT_EQ(plan.mtu, 1500);
  EXPECT_TRUE(plan.complete_checksums);
  EXPECT_EQ(plan.vdev,
            "net_af_packet0,iface=lb0,qpairs=2,framesz=65408,blocksz=2093056,framecnt=256");
}

TEST(PortPlan, TrustsTheChecksumsOfANicUnlessTold) {
  v1::Port port;
  port.set_pci("0000:3b:00.0");
  const PortPlan plan = plan_port(port, 1, 1);
  EXPECT_TRUE(plan.is_pci());
  EXPECT_EQ(plan.host_interface, "crab1");
  EXPECT_FALSE(plan.complete_checksums);
  port.set_checksum(v1::CHECKSUM_COMPLETE);
  EXPECT_TRUE(plan_port(port, 1, 1).complete_checksums);
  port = vdev("net_memif0");
  port.set_checksum(v1::CHECKSUM_TRUST);
  EXPECT_FALSE(plan_port(port, 1, 1).complete_checksums);
}

TEST(PortPlan, RefusesAnAfPacketWithoutInterfaceOrWithSizesOfItsOwn) {
  EXPECT_THAT(why_refused(vdev("net_af_packet0")), HasSubstr("names no interface"));
  EXPECT_THAT(why_refused(vdev("net_af_packet0,iface=lb0,qpairs=3")), HasSubstr("remove qpairs="));
  EXPECT_THAT(why_refused(vdev("net_af_packet0,framesz=99,iface=lb0")),
              HasSubstr("remove framesz="));
  EXPECT_EQ(why_refused(vdev("net_af_packet0,qdisc_bypass=0,iface=lb0")), "accepted");
}

TEST(QuietTable, HasANameOfItsOwnForEachInterface) {
  EXPECT_EQ(quiet_table_name("lb0"), "crab_lb0");
  EXPECT_EQ(quiet_table_name("lb-0"), "crab_lb_2d0");
  EXPECT_NE(quiet_table_name("lb.0"), quiet_table_name("lb_0"));
}

TEST(EalArguments, PinWorkersAndLetTheMainThreadFloat) {
  v1::Config config;
  config.set_node(7);
  config.mutable_dataplane()->add_workers(3);
  config.mutable_dataplane()->add_workers(5);
  const std::vector<std::string> vdevs{"net_null0"};
  const std::vector<unsigned> cpus{0, 1, 3, 5};
  EXPECT_THAT(
      eal_arguments(config, vdevs, {}, cpus),
      ElementsAre("crab-lb", "--lcores=0@3,1@5,127@(0,1,3,5)", "--main-lcore=127", "--no-huge",
                  "--no-shconf", "--no-telemetry", "-m", "256", "--vdev=net_null0", "--no-pci"));
}

TEST(EalArguments, WithHugepagesShareNothingAndTakeOnlyTheNamedDevices) {
  v1::Config config;
  config.set_node(7);
  config.mutable_dataplane()->add_workers(0);
  config.mutable_dataplane()->set_hugepages(true);
  const std::vector<std::string> pci{"0000:3b:00.0"};
  const std::vector<unsigned> cpus{0};
  const auto arguments = eal_arguments(config, {}, pci, cpus);
  EXPECT_THAT(arguments, Contains("--in-memory"));
  EXPECT_THAT(arguments, Not(Contains("--no-huge")));
  EXPECT_THAT(arguments, Not(Contains("--no-pci")));
  EXPECT_THAT(arguments, Contains("0000:3b:00.0"));
}

TEST(CheckMachine, NamesACpuThatIsNotThere) {
  v1::Dataplane dataplane;
  dataplane.add_workers(4000);
  try {
    check_machine(dataplane, allowed_cpus());
    FAIL() << "accepted";
  } catch (const StartupError& error) {
    // Without root, privileges are missing first.
    EXPECT_THAT(error.what(),
                testing::AnyOf(HasSubstr("there is no CPU 4000"), HasSubstr("missing privileges")));
  }
}

TEST(CheckPciDevice, NamesADeviceThatIsNotThere) {
  try {
    check_pci_device("ffff:ff:1f.7");
    FAIL() << "accepted";
  } catch (const StartupError& error) {
    EXPECT_THAT(error.what(), HasSubstr("there is no PCI device ffff:ff:1f.7"));
  }
}

TEST(InterfaceAddress, ParsesBothFamiliesAndNothingElse) {
  EXPECT_EQ(InterfaceAddress::parse("10.0.0.2/24")->prefix_length, 24);
  EXPECT_EQ(InterfaceAddress::parse("fd00::2/64")->address.to_string(), "fd00::2");
  EXPECT_EQ(InterfaceAddress::parse("fd00::2/128")->prefix_length, 128);
  for (const char* wrong : {"10.0.0.2", "10.0.0.2/33", "fd00::2/129", "10.0.0.2/", "/24",
                            "10.0.0.2/24x", "10.0.0.2/-1", "host/24"}) {
    EXPECT_FALSE(InterfaceAddress::parse(wrong)) << wrong;
  }
}

}  // namespace
}  // namespace crab
