// SPDX-License-Identifier: Apache-2.0
// What the workers know of services and backends. Control describes it (SnapshotSpec), the control
// thread builds it, Publisher swaps it in, workers only read it: a Snapshot never changes.
#pragma once

#include <nmmintrin.h>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lb/address.h"
#include "lb/byte_order.h"
#include "lb/redirect_option.h"
#include "policies/registry.h"

struct rte_hash;

namespace crab {

// A backend that may be given connections now: healthy, not draining, its next hop known.
struct BackendSpec {
  std::string id;
  IpAddress address;  // of its service's family
  be16 port{};
  std::uint32_t weight = 1;     // 1..65535
  std::uint32_t load_slot = 0;  // < kMaxLoadSlots, one per DIP:dport
  NextHop next_hop;
};

struct ServiceSpec {
  std::uint32_t id = 0;  // < kMaxServices; indexes counters, stable while the service lives
  IpAddress address;
  be16 port{};
  RedirectForm form = RedirectForm::Address;
  std::optional<ServiceKey> key;           // with a keyed form: the key that new tags are made with
  std::shared_ptr<PolicyInstance> policy;  // never null
  std::vector<BackendSpec> eligible;       // may be empty: the verdict is no_backend
};

struct SnapshotSpec {
  std::uint64_t generation = 0;  // grows with each publish
  std::uint8_t node = 1;         // 1..255
  std::vector<ServiceSpec> services;
};

// A backend as the redirect stage needs it, one cache line. Everything that depends only on the
// pair (service, backend) is computed here once, and not for each packet.
struct alignas(64) BackendEntry {
  std::array<std::uint8_t, 12> ethernet;  // destination and source MAC, as they stand in a frame
  be16 port;
  std::uint16_t port_id;  // DPDK's
  std::array<std::uint8_t, 16> address;
  std::uint32_t load_slot;
  // RFC 1624 differences, folded one's complement sums of 16 bit words as loaded from the packet.
  std::uint16_t ip_delta;   // IPv4 header: destination changed, TTL one less
  std::uint16_t tcp_delta;  // pseudo-header and TCP: destination address and port changed
};

struct ServiceEntry {
  std::uint32_t id;
  RedirectForm form;
  bool keyed;
  IpAddress address;
  be16 port;
  FilledOption filled;  // the option's bytes once redirected, tag zero
  ServiceKey key;
  PolicySet policy;
  std::vector<BackendEntry> backends;  // in the order the policy saw them
  // (load slot, index into backends), sorted by slot: how recall finds a remembered backend.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> by_slot;

  // Index into backends, or nullopt if that slot is not eligible any more.
  std::optional<std::uint32_t> find_slot(std::uint32_t load_slot) const;
};

class Snapshot {
 public:
  // Throws std::invalid_argument on what control should have refused (two services with one
  // address and port, a backend of another family), PolicyError, and std::bad_alloc or
  // std::runtime_error when memory runs out. Needs an initialised EAL: the tables are rte_hash.
  explicit Snapshot(const SnapshotSpec& spec);
  ~Snapshot();
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;

  std::uint64_t generation() const { return generation_; }
  std::span<const ServiceEntry> services() const { return services_; }
  const ServiceEntry& service(std::uint32_t index) const { return services_[index]; }

  // nullptr if there is none of that ServiceSpec::id.
  const ServiceEntry* find_service(std::uint32_t id) const;

  // Where a load slot is balanced to by its load.
  struct Placement {
    std::uint32_t load_slot;
    std::uint32_t service;  // index into services()
    std::uint32_t backend;  // index into its backends
  };
  // Of that slot; services whose policy does not use the load are left out.
  std::span<const Placement> placements(std::uint32_t load_slot) const;

  // The look-up keys, as classify builds them from a packet.
  struct alignas(16) Key4 {
    std::uint32_t address;  // network order
    std::uint16_t port;     // network order
    std::uint16_t zero = 0;
    std::uint64_t zero2 = 0;
  };
  struct alignas(16) Key6 {
    std::array<std::uint8_t, 16> address;
    std::uint16_t port;  // network order
    std::array<std::uint8_t, 14> zero{};
  };

  static constexpr std::uint32_t kNoService = ~0U;

  // nullptr when no service has that family. Values are indices into services().
  const rte_hash* table(Family family) const { return family == Family::Ipv4 ? table4_ : table6_; }
  // Is this the address of a service, whatever the port? Bytes in network order, 4 or 16.
  bool is_virtual(Family family, const std::uint8_t* address) const {
    const std::uint32_t bit = filter_bit(family, address);
    return (filter_[bit / 64] >> (bit % 64) & 1) != 0 && is_listed(family, address);
  }

 private:
  // A Bloom filter of one hash: every admitted SYN asks is_virtual of its source, and nearly none
  // is. 8 kB, of which a few per mille is set at 1,000 services.
  static constexpr std::uint32_t kFilterBits = 1U << 16;
  static std::uint32_t filter_bit(Family family, const std::uint8_t* address) {
    const std::uint64_t crc = family == Family::Ipv4
                                  ? _mm_crc32_u32(0, load<std::uint32_t>(address))
                                  : _mm_crc32_u64(_mm_crc32_u64(1, load<std::uint64_t>(address)),
                                                  load<std::uint64_t>(address + 8));
    return static_cast<std::uint32_t>(crc) % kFilterBits;
  }
  bool is_listed(Family family, const std::uint8_t* address) const;

  void build_tables();
  void build_indices();
  void free_tables();

  std::uint64_t generation_;
  std::vector<ServiceEntry> services_;
  std::vector<Placement> placements_;  // sorted by slot
  // (id, index into services_), sorted by id.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> by_id_;
  std::array<std::uint64_t, kFilterBits / 64> filter_{};
  rte_hash* table4_ = nullptr;
  rte_hash* table6_ = nullptr;
  std::vector<std::uint32_t> addresses4_;                 // sorted, network order
  std::vector<std::array<std::uint8_t, 16>> addresses6_;  // sorted
};

}  // namespace crab
