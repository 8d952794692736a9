// SPDX-License-Identifier: Apache-2.0
// What the built-in policies' create() functions share.
#pragma once

#include <cstdarg>
#include <cstdio>

#include "policies/policy.h"

namespace crab {

// Writes a message for the operator into an err buffer of the ABI; returns -1 for the caller to
// return.
[[gnu::format(printf, 3, 4)]] inline int policy_fail(char* err, size_t err_len, const char* format,
                                                     ...) {
  std::va_list args;
  va_start(args, format);
  std::vsnprintf(err, err_len, format, args);
  va_end(args);
  return -1;
}

// For a policy without parameters: 0 if none was given, otherwise -1 and a message.
inline int policy_refuse_parameters(const crab_policy_kv* kv, size_t n_kv, char* err,
                                    size_t err_len) {
  if (n_kv == 0) return 0;
  return policy_fail(err, err_len, "parameter '%s' is unknown; this policy has none", kv[0].key);
}

}  // namespace crab
