// SPDX-License-Identifier: Apache-2.0
// Synthesises SYNs with offers in the buffers that net_null hands out: Debian ships no headers for
// drivers of one's own, and a receive callback is as close to the wire as a benchmark gets.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "lb/redirect_option.h"
#include "lb/snapshot.h"

struct rte_mbuf;

namespace crab::perf {

struct GeneratorSettings {
  RedirectForm form = RedirectForm::Address;
  unsigned n_services = 1;
  // Of a hundred SYNs, so many repeat one sent shortly before.
  unsigned retransmitted_percent = 0;
};

// The virtual addresses that the SYNs go to: 10.1.0.0/16, fd00:1::/64, port 80.
IpAddress service_address(RedirectForm form, unsigned index);
inline constexpr std::uint16_t kServicePort = 80;
inline constexpr MacAddress kStation = {0x02, 0, 0, 0, 0, 0x01};

class Generator {
 public:
  explicit Generator(const GeneratorSettings& settings);

  // Writes a SYN into each buffer.
  void fill(rte_mbuf** packets, unsigned n);

  std::size_t frame_length() const { return frame_length_; }

 private:
  std::uint64_t next_random();

  GeneratorSettings settings_;
  std::array<std::uint8_t, 128> frame_{};
  std::size_t frame_length_ = 0;
  std::size_t l4_offset_ = 0;
  std::size_t destination_offset_ = 0;
  std::size_t source_offset_ = 0;
  std::vector<IpAddress> services_;
  std::uint64_t random_ = 0x9E3779B97F4A7C15ULL;
  std::array<std::uint64_t, 64> recent_{};  // seeds of SYNs sent lately, to be sent again
  unsigned n_sent_ = 0;
};

}  // namespace crab::perf
