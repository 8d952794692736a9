// SPDX-License-Identifier: Apache-2.0
#include "lb/snapshot.h"

#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_lcore.h>

#include <algorithm>
#include <atomic>
#include <stdexcept>

#include "lb/checksum.h"
#include "lb/classify.h"

namespace crab {
namespace {

std::invalid_argument bad_spec(const ServiceSpec& service, const std::string& why) {
  return std::invalid_argument("service " + service.address.to_string() + ":" +
                               std::to_string(to_host(service.port)) + ": " + why);
}

BackendEntry make_backend(const ServiceSpec& service, const BackendSpec& spec) {
  if (spec.address.family != service.address.family) {
    throw bad_spec(service, "backend " + spec.id + " is of another address family");
  }
  BackendEntry entry{};
  std::copy_n(spec.next_hop.destination.begin(), 6, entry.ethernet.begin());
  std::copy_n(spec.next_hop.source.begin(), 6, entry.ethernet.begin() + 6);
  entry.port = spec.port;
  entry.port_id = spec.next_hop.port_id;
  entry.address = spec.address.bytes;
  entry.load_slot = spec.load_slot;

  const std::uint16_t address_delta =
      difference(sum_bytes(service.address.bytes.data(), service.address.size()),
                 sum_bytes(spec.address.bytes.data(), spec.address.size()));
  // TTL is the first byte of its word, so that one less in it is one less in the word as loaded;
  // it is at least 2 here, and cannot borrow.
  constexpr std::uint16_t kTtlDelta = 0xfffe;
  entry.ip_delta = fold(std::uint64_t{address_delta} + kTtlDelta);
  const std::uint16_t port_delta =
      difference(static_cast<std::uint16_t>(service.port), static_cast<std::uint16_t>(spec.port));
  entry.tcp_delta = fold(std::uint64_t{address_delta} + port_delta);
  return entry;
}

ServiceEntry make_service(const ServiceSpec& spec, std::uint8_t node) {
  ServiceEntry entry{};
  entry.id = spec.id;
  entry.form = spec.form;
  entry.keyed = spec.key.has_value();
  entry.address = spec.address;
  entry.port = spec.port;
  entry.filled = make_filled_option(spec.form, node, spec.address, spec.port);
  if (spec.key) entry.key = *spec.key;

  std::vector<crab_policy_backend> policy_backends;
  for (const auto& backend : spec.eligible) {
    entry.by_slot.emplace_back(backend.load_slot,
                               static_cast<std::uint32_t>(entry.backends.size()));
    entry.backends.push_back(make_backend(spec, backend));
    policy_backends.push_back({backend.id.c_str(), backend.load_slot, backend.weight});
  }
  std::sort(entry.by_slot.begin(), entry.by_slot.end());
  if (!policy_backends.empty()) entry.policy = spec.policy->rebuild(policy_backends);
  return entry;
}

rte_hash* create_table(std::size_t n_entries, std::uint32_t key_length) {
  // Two snapshots live at once while one is being swapped in, and rte_hash wants unique names.
  static std::atomic<std::uint64_t> n_created{0};
  const std::string name = "crab_svc_" + std::to_string(n_created++);
  rte_hash_parameters parameters{};
  parameters.name = name.c_str();
  // A cuckoo table of eight slots a bucket fills to over nine tenths; twice the room never fails.
  parameters.entries = static_cast<std::uint32_t>(std::max<std::size_t>(64, 2 * n_entries));
  parameters.key_len = key_length;
  parameters.socket_id = static_cast<int>(rte_socket_id());
  rte_hash* table = rte_hash_create(&parameters);
  if (table == nullptr) {
    throw std::runtime_error(std::string("service table: ") + rte_strerror(rte_errno));
  }
  return table;
}

bool by_slot(const Snapshot::Placement& a, const Snapshot::Placement& b) {
  return a.load_slot < b.load_slot;
}

}  // namespace

std::optional<std::uint32_t> ServiceEntry::find_slot(std::uint32_t load_slot) const {
  const auto found = std::lower_bound(by_slot.begin(), by_slot.end(), std::pair(load_slot, 0U));
  if (found == by_slot.end() || found->first != load_slot) return std::nullopt;
  return found->second;
}

Snapshot::Snapshot(const SnapshotSpec& spec) : generation_(spec.generation) {
  services_.reserve(spec.services.size());
  for (const auto& service : spec.services) services_.push_back(make_service(service, spec.node));
  build_indices();
  try {
    build_tables();
  } catch (...) {
    free_tables();
    throw;
  }
}

Snapshot::~Snapshot() { free_tables(); }

void Snapshot::build_indices() {
  for (std::uint32_t i = 0; i < services_.size(); ++i) {
    by_id_.emplace_back(services_[i].id, i);
    if (!services_[i].policy.uses_load()) continue;
    for (const auto& [slot, backend] : services_[i].by_slot) {
      placements_.push_back({.load_slot = slot, .service = i, .backend = backend});
    }
  }
  std::stable_sort(placements_.begin(), placements_.end(), by_slot);
  std::sort(by_id_.begin(), by_id_.end());
}

const ServiceEntry* Snapshot::find_service(std::uint32_t id) const {
  const auto found = std::lower_bound(by_id_.begin(), by_id_.end(), std::pair(id, 0U));
  return found == by_id_.end() || found->first != id ? nullptr : &services_[found->second];
}

std::span<const Snapshot::Placement> Snapshot::placements(std::uint32_t load_slot) const {
  const auto [first, last] =
      std::equal_range(placements_.begin(), placements_.end(), Placement{load_slot, 0, 0}, by_slot);
  return {first, last};
}

void Snapshot::free_tables() {
  rte_hash_free(table4_);
  rte_hash_free(table6_);
}

void Snapshot::build_tables() {
  const auto n_v4 = static_cast<std::size_t>(std::count_if(
      services_.begin(), services_.end(), [](const auto& s) { return s.address.is_v4(); }));
  if (n_v4 > 0) table4_ = create_table(n_v4, sizeof(Key4));
  if (n_v4 < services_.size()) table6_ = create_table(services_.size() - n_v4, sizeof(Key6));

  for (std::uint32_t i = 0; i < services_.size(); ++i) {
    const auto& service = services_[i];
    const auto* address = service.address.bytes.data();
    const auto port = static_cast<std::uint16_t>(service.port);
    const auto add = [&](rte_hash* table, const auto& key) {
      if (rte_hash_lookup_with_hash(table, &key, hash_of(key)) >= 0) {
        throw std::invalid_argument("two services with address " + service.address.to_string() +
                                    " and port " + std::to_string(to_host(service.port)));
      }
      void* value = reinterpret_cast<void*>(static_cast<std::uintptr_t>(i));
      if (rte_hash_add_key_with_hash_data(table, &key, hash_of(key), value) != 0) {
        throw std::runtime_error("service table is full");
      }
    };
    const std::uint32_t bit = filter_bit(service.address.family, address);
    filter_[bit / 64] |= std::uint64_t{1} << (bit % 64);
    if (service.address.is_v4()) {
      add(table4_, key4(address, port));
      addresses4_.push_back(load<std::uint32_t>(address));
    } else {
      add(table6_, key6(address, port));
      addresses6_.push_back(service.address.bytes);
    }
  }
  std::sort(addresses4_.begin(), addresses4_.end());
  std::sort(addresses6_.begin(), addresses6_.end());
}

bool Snapshot::is_listed(Family family, const std::uint8_t* address) const {
  if (family == Family::Ipv4) {
    return std::binary_search(addresses4_.begin(), addresses4_.end(), load<std::uint32_t>(address));
  }
  return std::binary_search(addresses6_.begin(), addresses6_.end(), IpAddress::v6(address).bytes);
}

}  // namespace crab
