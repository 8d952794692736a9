// SPDX-License-Identifier: Apache-2.0
// Each connection to the least loaded of d distinct backends, drawn by weight (Mitzenmacher, "The
// Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12(10), 2001): what several nodes
// with old reports should use, since they do not all choose the same one.
#include "policies/power_of_two.h"

#include "policies/queue_ops.h"

namespace crab {
namespace {

void read(PolicyParameters& given, QueuePolicy::Parameters* parameters) {
  parameters->n_choices = 2;
  given.whole("d", 2, QueuePolicy::kMaxChoices, &parameters->n_choices);
}

constexpr crab_policy_param kParameters[] = {
    {"d", "how many distinct backends to choose from; 2 to 16, default 2"},
    kMaxShareParameter,
    kShareWindowParameter};

}  // namespace

const crab_policy_ops kPowerOfTwoPolicy = QueueOps<read>::table(
    "power_of_two", "the less loaded of two backends drawn by weight, or of d", kParameters);

}  // namespace crab
