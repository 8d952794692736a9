// SPDX-License-Identifier: Apache-2.0
// Between the API's messages and what the control strand keeps.
#pragma once

#include "control/desired_state.h"
#include "control/view.h"
#include "crab/v1/control.pb.h"

namespace crab {

// Preconditions: the message passed validate_service or validate_backends.
ServiceDefinition to_definition(const v1::Service& service, Owner owner);
BackendDefinition to_definition(const v1::Backend& backend, Owner owner);

// Without backends and keys.
v1::Service to_message(const ServiceDefinition& service);
v1::Backend to_message(const std::string& id, const BackendDefinition& backend);

// With its state and counters.
v1::Backend to_message(const View& view, const std::string& id, const BackendRecord& backend,
                       const Dataplane& dataplane);
// As the API and the metrics call it.
const char* name_of(VerdictClass verdict_class);

v1::ListServicesResponse list_services(const View& view);
v1::ListBackendsResponse list_backends(const View& view, const ServiceRecord& service,
                                       const Dataplane& dataplane);
v1::GetStatsResponse get_stats(const View& view, const Dataplane& dataplane);

}  // namespace crab
