// SPDX-License-Identifier: Apache-2.0
// What the node is to do: services, their backends and what belongs to each for as long as it
// lives (ids, load slots, policy instances), and leases. Control strand only, except where a View
// has it. In files by what they do: desired_state.cc the services and taking changes back,
// desired_backends.cc, desired_lifecycle.cc drains and maintenance, desired_leases.cc, and
// desired_records.cc what is durable.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
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

namespace google::protobuf {
class FieldMask;
}
namespace crab::v1 {
class Lease;
class StoredBackend;
}  // namespace crab::v1

namespace crab {

inline constexpr std::chrono::seconds kDefaultDrainTimeout{300};
inline constexpr std::chrono::seconds kDrainedRetention{60};
inline constexpr std::size_t kMaxLeases = 10'000;

// What a change did, for its reply.
struct ChangeEffect {
  bool validate_only = false;  // set by the caller: check, and do nothing
  bool changed = false;
  std::vector<std::string> removed_ids;  // deregistered, be it that they drain now
  std::vector<std::string> changed_ids;  // registered, those among them that were not so before
  std::string lease;                     // granted
};

struct DrainOptions {
  std::optional<std::chrono::milliseconds> timeout;  // empty: the default; zero: at once
  bool force = false;                                // deregister: gone at once, even if draining
  std::string reason;                                // for people
  std::map<std::string, std::string> etags;          // preconditions, by id
};

class DesiredState : private Surroundings {
 public:
  using Services = std::map<std::string, std::shared_ptr<ServiceRecord>>;
  using Leases = std::map<std::string, LeaseRecord>;

  // Reads the dataplane's own addresses and counters; the steady clock drives the quarantine of
  // indices. Policies read `loads`, whose slots are reset when they go to another backend.
  DesiredState(const Dataplane& dataplane, LoadTable& loads, Clocks clocks);

  // A service can be deleted only by its owner. Backends may be changed and removed by anybody, so
  // that an operator can take one out at once: what is changed belongs to who changed it, and a
  // restart brings back what the file says.
  //
  // Each applies the whole request or, with a failure, nothing of it; with effect->validate_only
  // nothing either way. Field paths are those of the API's requests: service.address,
  // backends[1].port, ids[0].
  using Result = std::optional<Failure>;
  Result create_service(const v1::Service& service, Owner owner, ChangeEffect* effect);
  Result update_service(const v1::Service& service, const google::protobuf::FieldMask& mask,
                        ChangeEffect* effect);
  // An etag that is not empty is a precondition.
  Result delete_service(const std::string& name, Owner owner, ChangeEffect* effect,
                        const std::string& etag = "");
  // A new instance of the policy, unless it is set like that already; anybody may.
  Result set_policy(const std::string& service, const v1::Policy& policy, ChangeEffect* effect);

  using Backends = google::protobuf::RepeatedPtrField<v1::Backend>;
  Result register_backends(const std::string& service, const Backends& backends, Owner owner,
                           ChangeEffect* effect);
  Result replace_backends(const std::string& service, const Backends& backends, Owner owner,
                          std::optional<std::uint64_t> expected_revision,
                          std::optional<std::chrono::milliseconds> drain_timeout,
                          ChangeEffect* effect);
  Result update_backend(const std::string& service, const v1::Backend& backend,
                        const google::protobuf::FieldMask& mask, ChangeEffect* effect);
  Result deregister_backends(const std::string& service, const std::vector<std::string>& ids,
                             const DrainOptions& options, ChangeEffect* effect);
  Result drain_backends(const std::string& service, const std::vector<std::string>& ids,
                        const DrainOptions& options, ChangeEffect* effect);
  // `options` without a timeout.
  Result set_maintenance(const std::string& service, const std::vector<std::string>& ids,
                         bool maintenance, const DrainOptions& options, ChangeEffect* effect);

  // Steps that time or the backends bring about; nothing if the backend is not in that state any
  // more.
  Result finish_drain(const std::string& service, const std::string& id, DrainedBy by,
                      const std::string& reason, ChangeEffect* effect);
  Result remove_drained(const std::string& service, const std::string& id, ChangeEffect* effect);

  Result grant_lease(const v1::Lease& lease, ChangeEffect* effect);
  // Ends it as `on_expiry` says.
  Result revoke_lease(const std::string& id, ChangeEffect* effect);
  Result expire_lease(const std::string& id, ChangeEffect* effect);
  // Gives it its whole time again; false: there is none. The only change outside the account
  // between marks: it is never taken back. `revives`: its backends are to be revive_lease()d.
  bool keep_alive(const std::string& id, bool* revives);
  Result revive_lease(const std::string& id, ChangeEffect* effect);

  const Services& services() const { return services_; }
  const Leases& leases() const { return leases_; }
  const Clocks& clocks() const { return clocks_; }

  // Between two marks every change can be taken back, together; records that a mark covers are
  // never modified again. What changes from here on will have this revision.
  bool changed_since_mark() const { return !originals_.empty() || !lease_originals_.empty(); }
  void mark(std::uint64_t next_revision);
  void rollback();

  // All that has to survive the process, as records: crab.v1.StoredService by "service/NAME",
  // StoredBackend by "service/NAME/backend/ID" and StoredLease by "lease/ID", serialized. Names
  // never hold a slash.
  using Records = std::map<std::string, std::string>;
  Records durable_records() const;
  // What of them has changed since the last mark; without a value what is gone.
  std::map<std::string, std::optional<std::string>> durable_changes() const;
  // Takes over what durable_records() has said in an earlier life; before the first publication,
  // and after the configuration file's services are in place: of those, what the file says wins,
  // and what the API had changed of their backends' administrative state stays. Records that are
  // not understood are left out, one line for each in the answer. Leases live for `grace` at
  // least. Returns the revision from which on to count.
  struct Restored {
    std::uint64_t revision = 0;
    std::vector<std::string> problems;
  };
  Restored restore(const Records& records, std::chrono::milliseconds grace);

 private:
  bool is_own(const IpAddress& address) const override;
  std::string service_at(const IpAddress& address) const override;
  std::string service_at(const IpAddress& address, std::uint16_t port) const override;
  std::string backend_at(const IpAddress& address) const override;

  void restore_backend(const std::string& key, const v1::StoredBackend& stored,
                       ServiceRecord* service, Restored* restored);
  Result check_new_service(const v1::Service& service) const;
  Result check_backends(const ServiceRecord& service, const Backends& backends) const;
  Result check_leases(const Backends& backends, const std::string& path) const;
  Result make_policy(const ServiceDefinition& definition, const std::string& field,
                     std::shared_ptr<PolicyInstance>* instance) const;
  Result make_record(const v1::Service& service, Owner owner,
                     std::shared_ptr<ServiceRecord>* record);
  // Puts all in or none, if there are no load slots left.
  Result put_backends(ServiceRecord* record, const Backends& backends, Owner owner);
  // Empty handle: there is none left.
  bool take_slot(const ServiceRecord& service, BackendRecord* backend);
  void drain_under_new_id(ServiceRecord* record, const std::string& id, BackendRecord backend);
  void erase_backend(ServiceRecord* record, const std::string& id);
  bool start_drain(ServiceRecord* record, BackendRecord* backend, bool removes,
                   const DrainOptions& options);
  Result check_ids(const std::string& service, const std::vector<std::string>& ids,
                   const DrainOptions& options, bool must_exist) const;
  Result end_lease(const std::string& id, bool revoked, ChangeEffect* effect);
  void touch(ServiceRecord* record, BackendRecord* backend);
  void touch(ServiceRecord* record);
  ServiceRecord& edit(const std::string& name);
  LeaseRecord& edit_lease(const std::string& id);
  void remember(const std::string& name);
  void remember_lease(const std::string& id);
  void index_endpoint(const ServiceRecord& record);

  const Dataplane& dataplane_;
  LoadTable& loads_;
  const Clocks clocks_;
  Services services_;
  Leases leases_;
  std::map<Endpoint, std::string> name_at_;  // of the service there
  // As of the last mark, what has changed since; a null pointer where there was nothing.
  std::map<std::string, std::shared_ptr<ServiceRecord>> originals_;
  std::map<std::string, std::optional<LeaseRecord>> lease_originals_;
  std::uint64_t next_revision_ = 1;
  std::uint64_t last_version_ = 0;

  std::shared_ptr<StableIndexPool<Endpoint>> service_ids_;
  std::shared_ptr<StableIndexPool<LoadKey>> load_slots_;
  std::map<std::uint32_t, std::pair<std::uint64_t, std::uint64_t>> service_bases_;
  std::map<std::uint32_t, std::uint64_t> slot_bases_;
};

// As the API shows a version.
std::string to_etag(std::uint64_t version);
// A failure unless `etag` is empty or the version's.
std::optional<Failure> check_etag(const std::string& etag, std::uint64_t version,
                                  const std::string& field, const std::string& of);
// `errors` name the fields.
Failure address_in_use(FieldErrors errors);
std::optional<Failure> backend_not_found(const std::string& service, const std::string& id,
                                         const std::string& field);

}  // namespace crab
