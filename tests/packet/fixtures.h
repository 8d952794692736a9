// SPDX-License-Identifier: Apache-2.0
// Packet tests as values: what comes in, the verdict, and the bytes that go out.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "tests/packet/world.h"

namespace crab::test {

struct Fixture {
  std::string name;
  Verdict verdict;
  Bytes input;
  std::optional<Bytes> output;  // nothing: not looked at, since the packet goes no further
  bool nic_checksum_bad = false;
  std::uint16_t headroom = 128;
};

// A well-formed SYN with the offer that the plain service wants, and what becomes of it.
Frame plain_syn(const Addresses& a);
Frame redirected(Frame syn, const Addresses& a);
// What a RST to that segment looks like (RFC 9293, 3.10.7.1).
Frame rst_to(const Frame& segment);

// By theme, for one address family; the names are unique over all of them.
std::vector<Fixture> redirect_fixtures(Family family);
std::vector<Fixture> option_fixtures(Family family);
std::vector<Fixture> header_fixtures(Family family);
std::vector<Fixture> refusal_fixtures(Family family);

}  // namespace crab::test
