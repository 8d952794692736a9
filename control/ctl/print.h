// SPDX-License-Identifier: Apache-2.0
// What crabctl writes to standard output. JSON has the API's field and enum names, YAML those of
// the configuration file, tables are for people and may change.
#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "crab/v1/control.pb.h"

namespace crab {

std::string to_json(const google::protobuf::Message& message);
std::string to_yaml(const google::protobuf::Message& message);

std::string service_table(const v1::ListServicesResponse& services,
                          const v1::GetStatsResponse& stats);
std::string service_details(const v1::Service& service);
using Backends = google::protobuf::RepeatedPtrField<v1::Backend>;
std::string backend_table(const Backends& backends);
// Verdicts and refusals that never happened only if all_verdicts.
std::string stats_tables(const v1::GetStatsResponse& stats, bool all_verdicts);

}  // namespace crab
