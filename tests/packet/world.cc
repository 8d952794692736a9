// SPDX-License-Identifier: Apache-2.0
#include "tests/packet/world.h"

#include <algorithm>
#include <cstring>

namespace crab::test {
namespace {

// A policy that misbehaves, as a plugin might: always one past the end.
const crab_policy_ops& out_of_range_policy() {
  static const crab_policy_ops ops = [] {
    crab_policy_ops bad = *find_policy("round_robin");
    bad.name = "out_of_range";
    bad.pick = [](void*, const void*, const crab_policy_flow*, std::uint32_t* picks,
                  std::size_t n) { std::fill_n(picks, n, 1000); };
    return bad;
  }();
  return ops;
}

BackendSpec backend(const IpAddress& address, std::uint16_t port, std::uint32_t slot) {
  return {.id = "b" + std::to_string(slot),
          .address = address,
          .port = to_be(port),
          .weight = 1,
          .load_slot = slot,
          .next_hop = {kBackendMac, kPortMac, 3}};
}

}  // namespace

const Addresses& addresses(Family family) {
  static const Addresses v4 = {
      .client = ip("192.0.2.7"),
      .plain = ip("10.0.0.100"),
      .keyed = ip("10.0.0.101"),
      .paper = ip("10.0.0.102"),
      .empty = ip("10.0.0.103"),
      .out_of_range = ip("10.0.0.104"),
      .backend = ip("10.0.0.11"),
      .other_backend = ip("10.0.0.12"),
      .host = ip("10.0.0.2"),
      .plain_form = RedirectForm::Address,
      .keyed_form = RedirectForm::AddressTag,
  };
  static const Addresses v6 = {
      .client = ip("2001:db8::7"),
      .plain = ip("fd00::100"),
      .keyed = ip("fd00::101"),
      .paper = ip("fd00::102"),  // not a service: the paper's form is IPv4
      .empty = ip("fd00::103"),
      .out_of_range = ip("fd00::104"),
      .backend = ip("fd00::11"),
      .other_backend = ip("fd00::12"),
      .host = ip("fd00::2"),
      .plain_form = RedirectForm::Tag,
      .keyed_form = RedirectForm::Tag,
  };
  return family == Family::Ipv4 ? v4 : v6;
}

World::World(std::uint32_t answers_per_second)
    : answers_per_second_(answers_per_second), counters_(std::make_unique<WorkerCounters>()) {
  rebuild();
  pipeline_ = std::make_unique<Pipeline>(settings(), *counters_);
}

PipelineSettings World::settings() const {
  PipelineSettings settings;
  settings.ports[0] = {.mac = kPortMac, .mtu = 1500, .complete_checksums = complete_checksums_};
  settings.recent_syn_entries = 1024;
  settings.answers_per_second = answers_per_second_;
  settings.tsc_hz = kTscHz;
  return settings;
}

void World::rebuild() {
  SnapshotSpec spec{.generation = 1, .node = kNode, .services = {}};
  std::uint32_t id = 0;
  for (const auto family : {Family::Ipv4, Family::Ipv6}) {
    const Addresses& a = addresses(family);
    const auto add = [&](const IpAddress& address, RedirectForm form,
                         std::vector<BackendSpec> backends) -> ServiceSpec& {
      ServiceSpec service;
      service.id = id++;
      service.address = address;
      service.port = to_be(std::uint16_t{80});
      service.form = form;
      service.policy = PolicyInstance::create(*find_policy("round_robin"), {});
      service.eligible = std::move(backends);
      return spec.services.emplace_back(std::move(service));
    };
    std::vector<BackendSpec> plain;
    for (const auto slot : eligible_) {
      plain.push_back(backend(slot == 0 ? a.backend : a.other_backend, 8080, slot));
    }
    add(a.plain, a.plain_form, plain);
    add(a.keyed, a.keyed_form, {backend(a.backend, 8080, 0)}).key = kKey;
    if (family == Family::Ipv4) add(a.paper, RedirectForm::Paper, {backend(a.backend, 80, 2)});
    add(a.empty, a.plain_form, {});
    add(a.out_of_range, a.plain_form, {backend(a.backend, 8080, 0)}).policy =
        PolicyInstance::create(out_of_range_policy(), {});
  }
  snapshot_ = std::make_unique<Snapshot>(spec);
}

void World::set_eligible(const std::vector<std::uint32_t>& slots) {
  eligible_ = slots;
  rebuild();
}

void World::complete_checksums(bool on) {
  complete_checksums_ = on;
  pipeline_ = std::make_unique<Pipeline>(settings(), *counters_);
}

World::Result World::send(const Bytes& frame, bool nic_checksum_bad, std::uint16_t headroom) {
  return send_burst({frame}, headroom, nic_checksum_bad).front();
}

std::vector<World::Result> World::send_burst(const std::vector<Bytes>& frames,
                                             std::uint16_t headroom, bool nic_checksum_bad) {
  const WorkerTotals before = counters_->read();
  // Heap blocks of exactly the frame's size, so that the address sanitizer sees a byte too far.
  std::vector<std::unique_ptr<std::uint8_t[]>> buffers;
  std::vector<Packet> packets(frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    buffers.push_back(std::make_unique<std::uint8_t[]>(headroom + frames[i].size()));
    packets[i].data = buffers[i].get() + headroom;
    std::copy(frames[i].begin(), frames[i].end(), packets[i].data);
    packets[i].length = static_cast<std::uint32_t>(frames[i].size());
    packets[i].headroom = headroom;
    packets[i].nic_checksum_bad = nic_checksum_bad;
  }
  pipeline_->process(*snapshot_, packets, now_);
  pipeline_->account(packets);

  WorkerTotals delta = counters_->read();
  delta -= before;
  std::vector<Result> results;
  for (const Packet& packet : packets) {
    results.push_back({packet.verdict, Bytes(packet.data, packet.data + packet.length),
                       packet.egress_port, delta});
  }
  return results;
}

}  // namespace crab::test
