// SPDX-License-Identifier: Apache-2.0
// What the node is to do: services, their backends and what belongs to each for as long as it
// lives (ids, load slots, policy instances). Control strand only, except where a View has it.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/dataplane.h"
#include "control/failure.h"
#include "control/records.h"
#include "control/stable_index.h"
#include "control/validate.h"
#include "crab/v1/resources.pb.h"
#include "lb/load_table.h"
#include "policies/registry.h"

namespace crab {

// What a change did, for its reply.
struct ChangeEffect {
  bool changed = false;
  std::vector<std::string> removed_ids;
};

class DesiredState : private Surroundings {
 public:
  using Services = std::map<std::string, std::shared_ptr<ServiceRecord>>;

  // Reads the dataplane's own addresses and counters; `now` drives the quarantine of indices.
  // Policies read `loads`, whose slots are reset when they go to another backend.
  DesiredState(const Dataplane& dataplane, LoadTable& loads,
               std::function<std::chrono::steady_clock::time_point()> now);

  // A service can be deleted only by its owner. Backends may be changed and removed by anybody, so
  // that an operator can take one out at once: what is changed belongs to who changed it, and a
  // restart brings back what the file says.
  //
  // Each applies the whole request or, with a failure, nothing of it. Field paths are those of the
  // API's requests: service.address, backends[1].port, ids[0].
  using Result = std::optional<Failure>;
  Result create_service(const v1::Service& service, Owner owner, ChangeEffect* effect);
  Result delete_service(const std::string& name, Owner owner, ChangeEffect* effect);
  // A new instance of the policy, unless it is set like that already; anybody may.
  Result set_policy(const std::string& service, const v1::Policy& policy, ChangeEffect* effect);
  using Backends = google::protobuf::RepeatedPtrField<v1::Backend>;
  Result register_backends(const std::string& service, const Backends& backends, Owner owner,
                           ChangeEffect* effect);
  Result deregister_backends(const std::string& service, const std::vector<std::string>& ids,
                             ChangeEffect* effect);

  const Services& services() const { return services_; }

  // Between two marks every change can be taken back, together; records that a mark covers are
  // never modified again.
  bool changed_since_mark() const { return !originals_.empty(); }
  void mark() { originals_.clear(); }
  void rollback();

 private:
  bool is_own(const IpAddress& address) const override;
  std::string service_at(const IpAddress& address) const override;
  std::string service_at(const IpAddress& address, std::uint16_t port) const override;
  std::string backend_at(const IpAddress& address) const override;

  Result check_new_service(const v1::Service& service) const;
  Result check_backends(const ServiceRecord& service, const Backends& backends) const;
  Result make_policy(const ServiceDefinition& definition, const std::string& field,
                     std::shared_ptr<PolicyInstance>* instance) const;
  // Puts all in or none, if there are no load slots left.
  Result put_backends(ServiceRecord* record, const Backends& backends, Owner owner);
  ServiceRecord& edit(const std::string& name);
  void remember(const std::string& name);
  void index_endpoint(const ServiceRecord& record);

  const Dataplane& dataplane_;
  LoadTable& loads_;
  Services services_;
  std::map<Endpoint, std::string> name_at_;  // of the service there
  // As of the last mark, what has changed since; a null pointer where there was nothing.
  std::map<std::string, std::shared_ptr<ServiceRecord>> originals_;

  std::shared_ptr<StableIndexPool<Endpoint>> service_ids_;
  std::shared_ptr<StableIndexPool<LoadKey>> load_slots_;
  std::map<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>> service_bases_;
  std::map<std::uint32_t, std::uint64_t> slot_bases_;
};

}  // namespace crab
