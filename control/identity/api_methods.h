// SPDX-License-Identifier: Apache-2.0
// The rpcs that a role can name, from the API's own descriptors: a new rpc is known at once.
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace crab {

// As gRPC writes them, without the first slash: crab.v1.BackendService/RegisterBackends.
using MethodNames = std::set<std::string, std::less<>>;

// All of crab.v1, and reflection, which is named as the others are.
const MethodNames& api_methods();
inline constexpr const char* kReflection =
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

// What a word of control.roles[].methods stands for: an rpc (BackendService.RegisterBackends, also
// with its package and with a slash), all of a service (BackendService.*), or a bundle:
//   viewer      what only reads: rpcs that begin with Get, List, Watch, Describe or Explain, all of
//               StatsService, reflection
//   autoscaler  viewer, BackendService and LeaseService
//   agent       AgentService, and AccessService.GetCaller
//   operator    everything
// Empty if there is no such rpc.
MethodNames expand_methods(std::string_view word);

// Names of the services that a request is about: its field `service` or `services`, be it a name or
// a crab.v1.Service, or else `name`. Empty if such a request is about no service in particular; the
// empty name is in it if it could be and leaves it out.
std::vector<std::string> services_of(const google::protobuf::Message& request);

}  // namespace crab
