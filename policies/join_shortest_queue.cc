// SPDX-License-Identifier: Apache-2.0
// Each connection to the backend that is least loaded for its weight. What is known of the load
// is as old as the last report: the drain clock of queue_policy.cc makes old and new reports
// comparable, so that the policy goes from the ideal to round robin by itself as reports get rare.
#include "policies/join_shortest_queue.h"

#include "policies/queue_ops.h"

namespace crab {
namespace {

void read(PolicyParameters&, QueuePolicy::Parameters* parameters) { parameters->n_choices = 0; }

constexpr crab_policy_param kParameters[] = {kMaxShareParameter, kShareWindowParameter};

}  // namespace

const crab_policy_ops kJoinShortestQueuePolicy = QueueOps<read>::table(
    "join_shortest_queue",
    "the backend with the least load for its weight; without reports, in turn", kParameters);

}  // namespace crab
