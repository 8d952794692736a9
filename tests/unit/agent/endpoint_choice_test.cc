// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/endpoint_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernel_patch/agent/agent_error.h"

namespace crab {
namespace {

using testing::AllOf;
using testing::HasSubstr;

KernelSupport served_by(unsigned implementation) {
  KernelSupport support;
  support.info = RedirectInfo{.implementation = implementation, .version = "1.0"};
  return support;
}

const KernelSupport kNothing;
const KernelSupport kModule = served_by(TCP_REDIRECT_IMPLEMENTATION_MODULE);
const KernelSupport kPatch = served_by(TCP_REDIRECT_IMPLEMENTATION_KERNEL);

std::string complaint(EndpointChoice asked, const KernelSupport& support,
                      const InstalledConnections& installed = {}) {
  try {
    choose_endpoint(asked, support, installed);
  } catch (const AgentError& error) {
    return error.what();
  }
  return "";
}

TEST(EndpointChoice, AutoTakesTheBestPresent) {
  const auto chosen = [](const KernelSupport& support) {
    return choose_endpoint(EndpointChoice::Auto, support, {});
  };
  EXPECT_EQ(chosen(kPatch).kind, EndpointKind::Kernel);
  EXPECT_EQ(chosen(kPatch).why, "the kernel's own TCP stack, patch series 1.0 is present");
  EXPECT_EQ(chosen(kModule).kind, EndpointKind::Netfilter);
  EXPECT_EQ(chosen(kModule).why, "the module crab_redirect 1.0 is present; kernel patch: absent");
  EXPECT_EQ(chosen(kNothing).kind, EndpointKind::Ebpf);
  EXPECT_THAT(chosen(kNothing).why, HasSubstr("kernel patch and netfilter module: absent"));
}

TEST(EndpointChoice, WhatCannotBeUsedIsNotChosen) {
  KernelSupport unusable;
  unusable.failure = "the family tcp_redirect cannot be used: version 2";
  const ChosenEndpoint chosen = choose_endpoint(EndpointChoice::Auto, unusable, {});
  EXPECT_EQ(chosen.kind, EndpointKind::Ebpf);
  EXPECT_THAT(chosen.why, HasSubstr("version 2"));
  EXPECT_EQ(complaint(EndpointChoice::Netfilter, unusable),
            "endpoint netfilter: the family tcp_redirect cannot be used: version 2");
}

TEST(EndpointChoice, WhatIsAskedForIsTakenIfItIsThere) {
  EXPECT_EQ(choose_endpoint(EndpointChoice::Ebpf, kPatch, {}).kind, EndpointKind::Ebpf);
  EXPECT_EQ(choose_endpoint(EndpointChoice::Netfilter, kModule, {}).kind, EndpointKind::Netfilter);
  EXPECT_EQ(choose_endpoint(EndpointChoice::Kernel, kPatch, {}).why,
            "asked for; the kernel's own TCP stack, patch series 1.0");
}

TEST(EndpointChoice, WhatIsAbsentComesWithARemedy) {
  EXPECT_THAT(complaint(EndpointChoice::Netfilter, kNothing),
              AllOf(HasSubstr("modprobe crab_redirect"), HasSubstr("DKMS")));
  EXPECT_THAT(complaint(EndpointChoice::Netfilter, kPatch),
              AllOf(HasSubstr("needs no module"), HasSubstr(": endpoint kernel")));
  EXPECT_THAT(complaint(EndpointChoice::Kernel, kNothing),
              HasSubstr("without the patch series: boot one built with kernel_patch/linux-6.1"));
  EXPECT_THAT(complaint(EndpointChoice::Kernel, kModule),
              HasSubstr("there is the module crab_redirect 1.0: endpoint netfilter"));
}

TEST(EndpointChoice, ConnectionsThatAreTranslatedKeepTheEndpoint) {
  const InstalledConnections busy{.kind = EndpointKind::Ebpf, .n_translated = 12};
  const ChosenEndpoint kept = choose_endpoint(EndpointChoice::Auto, kModule, busy);
  EXPECT_EQ(kept.kind, EndpointKind::Ebpf);
  EXPECT_THAT(kept.why, AllOf(HasSubstr("12 connections go by the eBPF endpoint"),
                              HasSubstr("the module crab_redirect 1.0 is present")));
  EXPECT_THAT(complaint(EndpointChoice::Netfilter, kModule, busy),
              AllOf(HasSubstr("12 connections"), HasSubstr("`crab-agent remove` waits")));
  EXPECT_EQ(complaint(EndpointChoice::Ebpf, kModule, busy), "");

  const InstalledConnections idle{.kind = EndpointKind::Ebpf, .n_translated = 0};
  EXPECT_EQ(choose_endpoint(EndpointChoice::Auto, kModule, idle).kind, EndpointKind::Netfilter);
}

}  // namespace
}  // namespace crab
