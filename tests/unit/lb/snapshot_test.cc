// SPDX-License-Identifier: Apache-2.0
#include "lb/snapshot.h"

#include <gtest/gtest.h>

#include "lb/classify.h"
#include "tests/packet/frame.h"

namespace crab {
namespace {

using test::ip;

ServiceSpec service(const std::string& address, std::uint16_t port) {
  ServiceSpec spec;
  spec.address = ip(address);
  spec.port = to_be(port);
  spec.form = form_for(spec.address.family, false);
  spec.policy = PolicyInstance::create(*find_policy("round_robin"), {});
  return spec;
}

BackendSpec backend(const std::string& address, std::uint32_t slot) {
  return {.id = address,
          .address = ip(address),
          .port = to_be(std::uint16_t{8080}),
          .weight = 1,
          .load_slot = slot,
          .next_hop = {}};
}

SnapshotSpec spec_of(std::vector<ServiceSpec> services) {
  return {.generation = 1, .node = 1, .services = std::move(services)};
}

TEST(Snapshot, RefusesTwoServicesOfOneAddressAndPort) {
  EXPECT_NO_THROW(Snapshot(spec_of({service("10.0.0.1", 80), service("10.0.0.1", 81)})));
  EXPECT_THROW(Snapshot(spec_of({service("10.0.0.1", 80), service("10.0.0.1", 80)})),
               std::invalid_argument);
  EXPECT_THROW(Snapshot(spec_of({service("fd00::1", 80), service("fd00::1", 80)})),
               std::invalid_argument);
}

TEST(Snapshot, RefusesABackendOfAnotherFamily) {
  auto mixed = service("10.0.0.1", 80);
  mixed.eligible = {backend("fd00::11", 0)};
  EXPECT_THROW(Snapshot(spec_of({mixed})), std::invalid_argument);
}

TEST(Snapshot, FindsAThousandServicesOfBothFamilies) {
  std::vector<ServiceSpec> services;
  for (unsigned i = 0; i < 1000; ++i) {
    const auto low = std::to_string(i % 250 + 1);
    services.push_back(i % 2 == 0 ? service("10.0." + std::to_string(i / 250) + "." + low, 80)
                                  : service("fd00::" + std::to_string(i), 80));
  }
  const Snapshot snapshot(spec_of(services));
  ASSERT_EQ(snapshot.services().size(), 1000U);
  for (const auto& s : services) {
    EXPECT_TRUE(snapshot.is_virtual(s.address.family, s.address.bytes.data()));
  }
  EXPECT_FALSE(snapshot.is_virtual(Family::Ipv4, ip("10.0.9.1").bytes.data()));
  EXPECT_FALSE(snapshot.is_virtual(Family::Ipv6, ip("fd01::1").bytes.data()));
}

TEST(Snapshot, FindsBackendsBySlot) {
  auto s = service("10.0.0.1", 80);
  s.eligible = {backend("10.0.0.11", 30), backend("10.0.0.12", 10), backend("10.0.0.13", 20)};
  const Snapshot snapshot(spec_of({s}));
  const auto& entry = snapshot.service(0);
  EXPECT_EQ(entry.find_slot(30), 0U);
  EXPECT_EQ(entry.find_slot(10), 1U);
  EXPECT_EQ(entry.find_slot(20), 2U);
  EXPECT_FALSE(entry.find_slot(0));
  EXPECT_FALSE(entry.find_slot(31));
}

TEST(Snapshot, ManyLiveAtOnce) {
  std::vector<std::unique_ptr<Snapshot>> alive;
  for (int i = 0; i < 5; ++i) {
    alive.push_back(
        std::make_unique<Snapshot>(spec_of({service("10.0.0.1", 80), service("fd00::1", 80)})));
  }
  EXPECT_EQ(alive.size(), 5U);
}

}  // namespace
}  // namespace crab
