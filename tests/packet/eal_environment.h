// SPDX-License-Identifier: Apache-2.0
// Starts DPDK once for a test program, without a NIC, hugepages or root: rte_hash and rte_rcu need
// an EAL. Include from one file of each program.
#pragma once

#include <gtest/gtest.h>
#include <rte_eal.h>
#include <rte_errno.h>

#include <array>
#include <cstring>

namespace crab {

class EalEnvironment : public ::testing::Environment {
 public:
  void SetUp() override {
    std::array arguments = {"crab-test", "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
                            "-m",        "64",        "--lcores",    "0@0",      "--log-level",
                            "error"};
    std::array<char*, arguments.size()> argv;
    for (std::size_t i = 0; i < argv.size(); ++i) argv[i] = const_cast<char*>(arguments[i]);
    ASSERT_GE(rte_eal_init(static_cast<int>(argv.size()), argv.data()), 0)
        << rte_strerror(rte_errno);
  }
  void TearDown() override { rte_eal_cleanup(); }
};

inline const auto* const kEalEnvironment = ::testing::AddGlobalTestEnvironment(new EalEnvironment);

}  // namespace crab
