// SPDX-License-Identifier: Apache-2.0
#include "control/report_counters.h"

#include <iterator>

namespace crab {
namespace {

constexpr const char* kRefusalNames[] = {"unknown_session", "wrong_node", "wrong_nonce",
                                         "replayed",        "reordered",  "unclaimed_address",
                                         "unknown_backend"};
static_assert(kNLoadReportErrors + std::size(kRefusalNames) == kNReportRefusals);

}  // namespace

const char* name_of_refusal(std::size_t refusal) {
  if (refusal == 0) return nullptr;
  return refusal < kNLoadReportErrors ? name_of(static_cast<LoadReportError>(refusal))
                                      : kRefusalNames[refusal - kNLoadReportErrors];
}

}  // namespace crab
