// SPDX-License-Identifier: Apache-2.0
// Between the API's messages and what the control strand keeps.
#pragma once

#include "control/control_counters.h"
#include "control/desired_state.h"
#include "control/load_view.h"
#include "control/report_counters.h"
#include "control/view.h"
#include "crab/v1/control.pb.h"

namespace crab {

// All that lists and statistics are made of.
struct NodeState {
  const View& view;
  const LoadView& loads;
  const Dataplane& dataplane;
};

// Preconditions: the message passed validate_service, validate_backends or validate_policy.
ServiceDefinition to_definition(const v1::Service& service, Owner owner);
BackendDefinition to_definition(const v1::Backend& backend, Owner owner);
// Its name and its parameters, sorted.
std::pair<std::string, PolicyInstance::Parameters> to_definition(const v1::Policy& policy);

LeaseRecord to_record(const v1::Lease& lease);  // its deadline apart
WallTime from_timestamp(const google::protobuf::Timestamp& time);
google::protobuf::Timestamp to_timestamp(WallTime time);
v1::DrainedBy to_message(DrainedBy by);
DrainedBy from_message(v1::DrainedBy by);
v1::Lease to_message(const LeaseRecord& lease);
v1::ControlStats to_message(const ControlCounters& counters);

// Without backends and keys.
v1::Service to_message(const ServiceDefinition& service);
// With its etag.
v1::Service to_message(const ServiceRecord& service);
// With its keys, for a store's eyes alone.
v1::Service to_stored_message(const ServiceDefinition& service);
v1::Backend to_message(const std::string& id, const BackendDefinition& backend);

// With its state and counters.
v1::Backend to_message(const NodeState& node, const ServiceRecord& service, const std::string& id,
                       const BackendRecord& backend);
// The same without what changes all the time: counters and load.
v1::Backend to_event_message(const View& view, const ServiceRecord& service, const std::string& id,
                             const BackendRecord& backend);
// As the API and the metrics call it.
const char* name_of(VerdictClass verdict_class);

v1::ListServicesResponse list_services(const View& view);
v1::ListBackendsResponse list_backends(const NodeState& node, const ServiceRecord& service);
// At most `size` of those behind the id `after`, which is empty for the first page.
v1::ListBackendsResponse list_backends(const NodeState& node, const ServiceRecord& service,
                                       const std::string& after, std::size_t size);
v1::ListPoliciesResponse list_policies();
v1::GetStatsResponse get_stats(const NodeState& node, const ReportCounters& reports);

}  // namespace crab
