// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/accepted_nodes.h"

#include <gtest/gtest.h>

namespace crab {
namespace {

// One backend's and node's, as the agent goes on reading it.
struct Reader {
  std::uint64_t shown = 0;
  std::uint64_t base = 0;

  std::uint64_t read(std::uint64_t in_kernel) {
    return shown = advance_accepted(shown, in_kernel, &base);
  }
};

TEST(AcceptedNodes, FollowTheKernelFromWhereTheyBegan) {
  Reader reader{.shown = 0, .base = 0 - std::uint64_t{7}};  // 7 were there before it was watched
  EXPECT_EQ(reader.read(7), 0U);
  EXPECT_EQ(reader.read(9), 2U);
  EXPECT_EQ(reader.read(9), 2U);
}

TEST(AcceptedNodes, GoOnWhereTheEbpfEndpointStopped) {
  Reader reader{.shown = 100, .base = 100 - std::uint64_t{40}};
  EXPECT_EQ(reader.read(41), 101U);
}

TEST(AcceptedNodes, AFallIsABeginningAnew) {
  Reader reader;
  EXPECT_EQ(reader.read(50), 50U);
  EXPECT_EQ(reader.read(3), 53U) << "3 since the module was loaded again";
  EXPECT_EQ(reader.read(8), 58U);
  EXPECT_EQ(reader.read(0), 58U);
  EXPECT_EQ(reader.read(1), 59U);
}

}  // namespace
}  // namespace crab
