// SPDX-License-Identifier: Apache-2.0
// Writing to crab_session, which `crab-agent status` reads from another process. Texts may be seen
// half written, and always end.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "kernel_patch/bpf/layout.h"

namespace crab {

inline void add_to(__u64* counter, std::uint64_t n) {
  std::atomic_ref(*counter).fetch_add(n, std::memory_order_relaxed);
}

template <std::size_t kSize>
void set_text(char (&field)[kSize], std::string_view text) {
  const std::size_t n = std::min(text.size(), kSize - 1);
  std::copy_n(text.data(), n, field);
  std::fill(field + n, field + kSize, '\0');
}

}  // namespace crab
