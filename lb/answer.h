// SPDX-License-Identifier: Apache-2.0
// What is answered instead of forwarded: a RST, made in the packet's own buffer, so that a client
// fails at once and does not wait for its timers. Limited in rate; never to a RST.
#pragma once

#include <cstdint>

#include "lb/packet.h"

namespace crab {

// A token bucket that holds a tenth of a second's worth; one worker's.
class AnswerLimit {
 public:
  // per_second: at least 1.
  AnswerLimit(std::uint32_t per_second, std::uint64_t tsc_hz);
  bool take(std::uint64_t now_tsc);

 private:
  std::uint64_t cost_tsc_;   // of one answer
  std::uint64_t burst_tsc_;  // saved up at most
  std::uint64_t spent_until_tsc_ = 0;
};

// Turns every packet whose verdict is of the class Answered into the RST that answers it, to be
// sent back by the port it came in on; one over the limit gets AnswerLimited.
void answer(const Burst& burst, AnswerLimit& limit, std::uint64_t now_tsc);

}  // namespace crab
