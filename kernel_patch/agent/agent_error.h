// SPDX-License-Identifier: Apache-2.0
// What ends crab-agent: one line that says what is wrong and, where it is known, what mends it.
#pragma once

#include <stdexcept>

namespace crab {

class AgentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace crab
