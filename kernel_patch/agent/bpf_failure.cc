// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/bpf_failure.h"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace crab {
namespace {

// libbpf's last complaint, which says more than the errno that follows it.
std::string& last_complaint() {
  static std::string text;
  return text;
}

int keep_complaint(libbpf_print_level level, const char* format, va_list arguments) {
  char line[1024];
  const int n = std::vsnprintf(line, sizeof line, format, arguments);
  std::string text(line);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  SPDLOG_DEBUG("{}", text);
  if (level == LIBBPF_WARN) last_complaint() = text;
  return n;
}

}  // namespace

void keep_bpf_complaints() { libbpf_set_print(keep_complaint); }

void forget_bpf_complaints() { last_complaint().clear(); }

AgentError bpf_failure(const std::string& what, int err) {
  const std::string& detail = last_complaint();
  return AgentError(
      fmt::format("{}: {}{}{}", what, std::strerror(-err), detail.empty() ? "" : "; ", detail));
}

}  // namespace crab
