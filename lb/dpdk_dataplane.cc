// SPDX-License-Identifier: Apache-2.0
#include "lb/dpdk_dataplane.h"

#include <fmt/format.h>
#include <rte_cycles.h>
#include <rte_launch.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <thread>

#include "lb/monotonic_clock.h"
#include "lb/tuple_hash.h"
#include "lb/worker.h"

namespace crab {

namespace {

// A worker sleeps for at most 200 us; one that takes so much longer hangs, or gets no CPU.
constexpr std::chrono::milliseconds kPublishBound{3000};
constexpr std::chrono::seconds kStopBound{5};
constexpr std::chrono::milliseconds kLinkInterval{250};

bool sleeps_when_idle(const v1::Dataplane& dataplane) {
  if (dataplane.idle() == v1::IDLE_UNSPECIFIED) return !dataplane.hugepages();
  return dataplane.idle() == v1::IDLE_SLEEP;
}

}  // namespace

DpdkDataplane::DpdkDataplane(const v1::Config& config, boost::asio::io_context& io)
    : link_timer_(io), eligibility_log_(io) {
  const v1::Dataplane& dataplane = config.dataplane();
  const auto n_workers = static_cast<unsigned>(dataplane.workers_size());
  const std::vector<unsigned> cpus = allowed_cpus();

  std::vector<std::string> vdevs;
  std::vector<std::string> pci_addresses;
  for (const v1::Port& port : dataplane.ports()) {
    plans_.push_back(plan_port(port, static_cast<unsigned>(plans_.size()), n_workers));
    const PortPlan& plan = plans_.back();
    if (plan.is_pci()) {
      check_pci_device(plan.device);
      pci_addresses.push_back(plan.device);
    } else {
      vdevs.push_back(plan.vdev);
    }
  }
  // Before the EAL: net_af_packet joins its sockets only on an interface that is up.
  for (const PortPlan& plan : plans_) {
    if (plan.kernel_interface.empty()) continue;
    kernel_sides_.push_back(std::make_unique<KernelSide>(plan.kernel_interface, plan.mtu));
  }
  eal_ = std::make_unique<Eal>(eal_arguments(config, vdevs, pci_addresses, cpus));

  publisher_ = std::make_unique<Publisher>(n_workers);
  for (unsigned i = 0; i < n_workers; ++i) counters_.push_back(std::make_unique<WorkerCounters>());
  open_ports(dataplane);

  std::vector<HostLink> links;
  std::map<unsigned, MacAddress> host_macs;
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const HostInterface& host = *host_interfaces_[i];
    links.push_back({host.ifindex(), host.name(), ports_[i]->id(), ports_[i]->mac(), true});
    host_macs.emplace(host.ifindex(), ports_[i]->mac());
  }
  virtual_addresses_ = std::make_unique<VirtualAddresses>(std::move(host_macs), netlink_);
  neighbors_ = std::make_unique<NeighborFollower>(io, netlink_, std::move(links));

  SnapshotSpec empty;
  empty.node = static_cast<std::uint8_t>(config.node());
  publisher_->publish(std::make_unique<const Snapshot>(empty), kPublishBound);
  host_path_.start();
  start_workers(dataplane);
  follow_links();
}

DpdkDataplane::~DpdkDataplane() {
  stop_workers();
  // Linux's own packets need no worker to be told about; the thread ends before TAP and rings go.
  host_path_.stop();
}

void DpdkDataplane::open_ports(const v1::Dataplane& dataplane) {
  const auto n_workers = static_cast<unsigned>(dataplane.workers_size());
  for (std::size_t i = 0; i < plans_.size(); ++i) {
    ports_.push_back(std::make_unique<Port>(plans_[i], n_workers));
    const Port& port = *ports_.back();
    open_host_interface(port, dataplane.ports(static_cast<int>(i)));
    link_was_up_.push_back(true);
    const PortPlan& plan = port.plan();
    spdlog::info("port {}: {}, MAC {}, MTU {}, {} queue{}, checksums {}, host interface {}",
                 port.id(), plan.device, to_string(port.mac()), plan.mtu, n_workers,
                 n_workers == 1 ? "" : "s",
                 plan.complete_checksums ? "completed at receive" : "trusted", plan.host_interface);
  }
}

void DpdkDataplane::open_host_interface(const Port& port, const v1::Port& configured) {
  HostInterfaceSettings settings{port.plan().host_interface, port.mac(), port.plan().mtu, {}, {}};
  for (const std::string& text : configured.addresses()) {
    const auto address = InterfaceAddress::parse(text);
    if (!address) throw StartupError(fmt::format("addresses: {} is no ADDRESS/LENGTH", text));
    settings.addresses.push_back(*address);
    own_addresses_.push_back(*address);
  }
  for (const std::string& text : configured.gateways()) {
    const auto gateway = IpAddress::parse(text);
    if (!gateway) throw StartupError(fmt::format("gateways: {} is no address", text));
    settings.gateways.push_back(*gateway);
  }
  host_interfaces_.push_back(std::make_unique<HostInterface>(settings, netlink_));
  host_path_.add(port, host_interfaces_.back()->tap());
}

void DpdkDataplane::start_workers(const v1::Dataplane& dataplane) {
  WorkerSettings settings;
  settings.sleep_when_idle = sleeps_when_idle(dataplane);
  settings.pipeline.tsc_hz = rte_get_tsc_hz();
  if (dataplane.recent_syn_entries() != 0) {
    settings.pipeline.recent_syn_entries = dataplane.recent_syn_entries();
  }
  if (dataplane.answers_per_second() != 0) {
    settings.pipeline.answers_per_second = dataplane.answers_per_second();
  }
  for (const auto& port : ports_) {
    settings.pipeline.ports[port->id()] = {port->mac(), port->plan().mtu,
                                           port->plan().complete_checksums};
  }
  for (unsigned index = 0; index < n_workers(); ++index) {
    settings.index = index;
    settings.ports.clear();
    for (std::size_t i = 0; i < ports_.size(); ++i) {
      const std::uint16_t id = ports_[i]->id();
      // Each port's packets from Linux have one worker, and the ports are dealt out.
      const bool mine = i % n_workers() == index;
      settings.ports.push_back(
          {id, host_path_.to_linux(id), mine ? host_path_.from_linux(id) : nullptr});
    }
    workers_.push_back(std::make_unique<Worker>(settings, *publisher_, *counters_[index]));
  }
  for (unsigned index = 0; index < n_workers(); ++index) {
    const auto run = [](void* worker) {
      static_cast<Worker*>(worker)->run();
      return 0;
    };
    if (const int error = rte_eal_remote_launch(run, workers_[index].get(), index); error != 0) {
      stop_workers();
      throw StartupError(fmt::format("worker {} does not start: error {}", index, error));
    }
    spdlog::info("worker {}: CPU {}, {} when idle", index,
                 dataplane.workers(static_cast<int>(index)),
                 settings.sleep_when_idle ? "sleeps" : "polls");
  }
}

void DpdkDataplane::stop_workers() {
  for (const auto& worker : workers_) worker->stop();
  const auto deadline = std::chrono::steady_clock::now() + kStopBound;
  for (unsigned index = 0; index < workers_.size(); ++index) {
    while (rte_eal_get_lcore_state(index) == RUNNING) {
      if (std::chrono::steady_clock::now() >= deadline) {
        // It may still use everything that would now be freed.
        spdlog::critical("worker {} does not end within {} s; exiting without it", index,
                         kStopBound.count());
        kernel_sides_.clear();
        std::_Exit(1);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    rte_eal_wait_lcore(index);
  }
}

void DpdkDataplane::follow_links() {
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    const bool up = ports_[i]->link_is_up();
    if (up != link_was_up_[i]) {
      spdlog::warn("port {} ({}): link {}", ports_[i]->id(), ports_[i]->plan().device,
                   up ? "up" : "down");
    }
    link_was_up_[i] = up;
    host_interfaces_[i]->set_carrier(up);
  }
  link_timer_.expires_after(kLinkInterval);
  link_timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) follow_links();
  });
}

PublishOutcome DpdkDataplane::publish(const SnapshotSpec& spec) {
  PublishOutcome outcome =
      publisher_->publish(std::make_unique<const Snapshot>(spec), kPublishBound);
  eligibility_log_.published(spec);
  all_loads_changed();  // what was assigned through the old snapshot is in no key of the new one
  return outcome;
}

void DpdkDataplane::loads_changed(std::span<const std::uint32_t> load_slots) {
  const Snapshot& snapshot = *publisher_->current();
  const auto now = monotonic_ns();
  for (const std::uint32_t slot : load_slots) {
    for (const auto& place : snapshot.placements(slot)) {
      snapshot.service(place.service).policy.update({&place.backend, 1}, now);
    }
  }
}

void DpdkDataplane::all_loads_changed() {
  const auto now = monotonic_ns();
  for (const ServiceEntry& service : publisher_->current()->services()) {
    if (service.policy.uses_load()) service.policy.update_all(now);
  }
}

std::string DpdkDataplane::policy_rule(std::uint32_t service_id) const {
  const ServiceEntry* service = publisher_->current()->find_service(service_id);
  return service == nullptr ? std::string() : service->policy.rule();
}

std::optional<ExplainedChoice> DpdkDataplane::explain(std::uint32_t service_id,
                                                      const FlowTuple& flow) const {
  const ServiceEntry* service = publisher_->current()->find_service(service_id);
  if (service == nullptr || service->backends.empty()) return std::nullopt;
  // As a packet has them.
  const std::size_t size = flow.source.size();
  std::array<std::uint8_t, 32> addresses{};
  std::copy_n(flow.source.bytes.begin(), size, addresses.begin());
  std::copy_n(flow.destination.bytes.begin(), size,
              addresses.begin() + static_cast<std::ptrdiff_t>(size));
  const std::array<std::uint8_t, 4> ports = {
      static_cast<std::uint8_t>(flow.source_port >> 8),
      static_cast<std::uint8_t>(flow.source_port & 0xff),
      static_cast<std::uint8_t>(flow.destination_port >> 8),
      static_cast<std::uint8_t>(flow.destination_port & 0xff)};
  crab_policy_flow asked{};
  asked.tuple_hash = hash_tuple(flow.source.family, addresses.data(), ports.data());
  const auto [pick, why] = service->policy.explain(asked);
  if (pick >= service->backends.size()) return std::nullopt;
  const bool by_tuple = service->policy.needs_tuple_hash() && !service->policy.uses_load();
  return ExplainedChoice{.load_slot = service->backends[pick].load_slot,
                         .why = why,
                         .certain = by_tuple || service->backends.size() == 1};
}

void DpdkDataplane::resolve(const std::vector<IpAddress>& backend_addresses) {
  eligibility_log_.keep_only(backend_addresses);
  neighbors_->resolve(backend_addresses);
}

void DpdkDataplane::on_next_hop(NextHopCallback callback) {
  neighbors_->on_next_hop(
      [this, callback = std::move(callback)](const IpAddress& address, const NextHopState& state) {
        eligibility_log_.next_hop_changed(address, state);
        callback(address, state);
      });
}

void DpdkDataplane::set_virtual_addresses(const std::vector<VirtualAddress>& addresses) {
  virtual_addresses_->set(addresses);
}

bool DpdkDataplane::is_own_address(const IpAddress& address) const {
  return std::ranges::find(own_addresses_, address, &InterfaceAddress::address) !=
         own_addresses_.end();
}

EdgeTotals DpdkDataplane::edge_totals() const {
  const HostPathCounters& host = host_path_.counters();
  EdgeTotals totals;
  totals.n_to_linux = host.n_to_linux.load(std::memory_order_relaxed);
  totals.n_to_linux_drops = host.n_to_linux_drops.load(std::memory_order_relaxed);
  totals.n_from_linux = host.n_from_linux.load(std::memory_order_relaxed);
  totals.n_from_linux_drops = host.n_from_linux_drops.load(std::memory_order_relaxed);
  const std::scoped_lock lock(port_statistics_);
  for (const auto& port : ports_) totals.n_missed += port->n_missed();
  return totals;
}

}  // namespace crab
