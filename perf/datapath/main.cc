// SPDX-License-Identifier: Apache-2.0
// The datapath's cost in one run: a MAC-swap forwarder (the floor) and the pipeline with each
// policy, fed by an in-process generator. perf/README.md says how to read what it prints.
#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "lb/pipeline.h"
#include "lb/snapshot.h"
#include "perf/datapath/generator.h"
#include "policies/registry.h"

namespace crab::perf {
namespace {

constexpr unsigned kBurst = kMaxBurst;
constexpr unsigned kPoolSize = 4095;

struct Options {
  unsigned n_backends = 48;
  unsigned n_services = 1;
  unsigned recent_syn_entries = 1U << 20;
  unsigned retransmitted_percent = 0;
  unsigned n_rounds = 7;
  unsigned n_packets = 2'000'000;
  unsigned cpu = 1;
  std::string form = "address";
  bool hugepages = false;
};

RedirectForm parse_form(const std::string& name) {
  if (name == "tag") return RedirectForm::Tag;
  if (name == "address-tag") return RedirectForm::AddressTag;
  return RedirectForm::Address;
}

std::uint16_t generate(std::uint16_t, std::uint16_t, rte_mbuf** packets, std::uint16_t n,
                       std::uint16_t, void* generator) {
  static_cast<Generator*>(generator)->fill(packets, n);
  return n;
}

void start_eal(const Options& options) {
  std::vector<std::string> arguments = {
      "crab-perf", "--lcores",       "0@" + std::to_string(options.cpu),
      "--no-pci",  "--no-telemetry", "--log-level",
      "error",     "--vdev",         "net_null0,size=128"};
  if (options.hugepages) {
    arguments.insert(arguments.end(), {"--in-memory", "-m", "512"});
  } else {
    arguments.insert(arguments.end(), {"--no-huge", "--no-shconf", "-m", "512"});
  }
  std::vector<char*> argv;
  for (auto& argument : arguments) argv.push_back(argument.data());
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    throw std::runtime_error(std::string("EAL: ") + rte_strerror(rte_errno));
  }
}

void check(int result, const char* what) {
  if (result < 0) throw std::runtime_error(std::string(what) + ": " + rte_strerror(-result));
}

void start_port(Generator& generator) {
  rte_mempool* pool = rte_pktmbuf_pool_create("packets", kPoolSize, 256, 0,
                                              RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  if (pool == nullptr) throw std::runtime_error("no memory for packets");
  const rte_eth_conf configuration{};
  check(rte_eth_dev_configure(0, 1, 1, &configuration), "configure");
  check(rte_eth_rx_queue_setup(0, 0, 512, SOCKET_ID_ANY, nullptr, pool), "receive queue");
  check(rte_eth_tx_queue_setup(0, 0, 512, SOCKET_ID_ANY, nullptr), "transmit queue");
  if (rte_eth_add_rx_callback(0, 0, generate, &generator) == nullptr) {
    throw std::runtime_error("receive callback refused");
  }
  check(rte_eth_dev_start(0), "start");
}

SnapshotSpec make_spec(const Options& options, const crab_policy_ops& policy) {
  const RedirectForm form = parse_form(options.form);
  SnapshotSpec spec{.generation = 1, .node = 1, .services = {}};
  for (unsigned s = 0; s < options.n_services; ++s) {
    ServiceSpec service;
    service.id = s;
    service.address = service_address(form, s);
    service.port = to_be(kServicePort);
    service.form = form;
    if (form == RedirectForm::AddressTag) service.key = ServiceKey{1, 2, 3};
    service.policy = PolicyInstance::create(policy, {});
    for (unsigned b = 0; b < options.n_backends; ++b) {
      BackendSpec backend;
      backend.id = "b" + std::to_string(b);
      backend.address = service.address;
      backend.address.bytes[0] ^= 1;
      backend.address.bytes[2] = static_cast<std::uint8_t>(b >> 8);
      backend.address.bytes[3] = static_cast<std::uint8_t>(b);
      backend.port = to_be(std::uint16_t{8080});
      backend.load_slot = b;
      backend.next_hop = {{2, 0, 0, 0, 1, 1}, kStation, 0};
      service.eligible.push_back(backend);
    }
    spec.services.push_back(std::move(service));
  }
  return spec;
}

unsigned receive(rte_mbuf** packets) { return rte_eth_rx_burst(0, 0, packets, kBurst); }

void transmit(rte_mbuf** packets, unsigned n) {
  const auto n_sent = rte_eth_tx_burst(0, 0, packets, static_cast<std::uint16_t>(n));
  if (n_sent < n) throw std::logic_error("net_null refused a packet");
}

void swap_addresses(rte_mbuf* packet) {
  auto* ethernet = rte_pktmbuf_mtod(packet, rte_ether_hdr*);
  std::swap(ethernet->src_addr, ethernet->dst_addr);
}

// Takes one burst from receive to transmit.
struct Contestant {
  std::string name;
  std::function<void(rte_mbuf** packets, unsigned n)> forward;
  std::vector<double> cycles;  // per packet, a round each
};

class PipelineContestant {
 public:
  PipelineContestant(const Options& options, const crab_policy_ops& policy)
      : snapshot_(std::make_unique<Snapshot>(make_spec(options, policy))),
        counters_(std::make_unique<WorkerCounters>()) {
    PipelineSettings settings;
    settings.ports[0].mac = kStation;
    settings.recent_syn_entries = options.recent_syn_entries;
    settings.tsc_hz = rte_get_tsc_hz();
    pipeline_ = std::make_unique<Pipeline>(settings, *counters_);
  }

  void operator()(rte_mbuf** mbufs, unsigned n) {
    for (unsigned i = 0; i < n; ++i) {
      Packet& packet = packets_[i];
      packet.data = rte_pktmbuf_mtod(mbufs[i], std::uint8_t*);
      packet.length = mbufs[i]->data_len;
      packet.headroom = RTE_PKTMBUF_HEADROOM;
      packet.ingress_port = 0;
    }
    const std::span burst(packets_.data(), n);
    pipeline_->process(*snapshot_, burst, rte_rdtsc());
    transmit(mbufs, n);
    pipeline_->account(burst);
  }

  // A benchmark of packets that went another way would be worth nothing.
  void check_all_redirected() const {
    const WorkerTotals totals = counters_->read();
    if (totals.verdict(Verdict::Redirected) == totals.n_rx_packets) return;
    for (std::size_t v = 0; v < kVerdictCount; ++v) {
      if (totals.n_verdicts[v] == 0) continue;
      std::fprintf(stderr, "%s: %llu\n", std::string(name_of(static_cast<Verdict>(v))).c_str(),
                   static_cast<unsigned long long>(totals.n_verdicts[v]));
    }
    throw std::logic_error("not every packet was redirected");
  }

 private:
  std::unique_ptr<Snapshot> snapshot_;
  std::unique_ptr<WorkerCounters> counters_;
  std::unique_ptr<Pipeline> pipeline_;
  std::array<Packet, kBurst> packets_;
};

// TSC cycles per packet of one round.
double run(const Contestant& contestant, unsigned n_packets) {
  rte_mbuf* packets[kBurst];
  const std::uint64_t start = rte_rdtsc_precise();
  for (unsigned n_done = 0; n_done < n_packets;) {
    const unsigned n = receive(packets);
    contestant.forward(packets, n);
    n_done += n;
  }
  return static_cast<double>(rte_rdtsc_precise() - start) / n_packets;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void compare(const Options& options) {
  std::vector<Contestant> contestants(2);
  contestants[0].name = "generator alone";
  contestants[0].forward = [](rte_mbuf** p, unsigned n) { rte_pktmbuf_free_bulk(p, n); };
  contestants[1].name = "MAC swap (floor)";
  contestants[1].forward = [](rte_mbuf** p, unsigned n) {
    for (unsigned i = 0; i < n; ++i) swap_addresses(p[i]);
    transmit(p, n);
  };
  std::vector<std::unique_ptr<PipelineContestant>> pipelines;
  for (const auto* policy : built_in_policies()) {
    auto* pipeline =
        pipelines.emplace_back(std::make_unique<PipelineContestant>(options, *policy)).get();
    Contestant& contestant = contestants.emplace_back();
    contestant.name = std::string("pipeline, ") + policy->name;
    contestant.forward = [pipeline](rte_mbuf** p, unsigned n) { (*pipeline)(p, n); };
  }

  // In turn, round by round, so that a machine that changes its speed changes it for all.
  for (unsigned round = 0; round <= options.n_rounds; ++round) {
    for (auto& contestant : contestants) {
      const double result = run(contestant, options.n_packets);
      if (round > 0) contestant.cycles.push_back(result);  // the first one warms up
    }
  }
  for (const auto& pipeline : pipelines) pipeline->check_all_redirected();

  const double hz = static_cast<double>(rte_get_tsc_hz());
  const double floor = median(contestants[1].cycles);
  std::printf("%-26s %10s %8s %14s %12s\n", "", "cycles/SYN", "Mpps", "above floor", "Mpps/floor");
  for (const auto& contestant : contestants) {
    const double m = median(contestant.cycles);
    std::printf("%-26s %10.1f %8.2f %14.1f %12.2f\n", contestant.name.c_str(), m, hz / m / 1e6,
                m - floor, floor / m);
  }
}

}  // namespace
}  // namespace crab::perf

int main(int argc, char** argv) try {
  crab::perf::Options options;
  CLI::App app("Cycles per SYN of the datapath, above a MAC-swap forwarder");
  app.add_option("--backends", options.n_backends, "backends of each service")
      ->check(CLI::Range(1, 65'536));
  app.add_option("--services", options.n_services)->check(CLI::Range(1, 16'384));
  app.add_option("--recent", options.recent_syn_entries, "entries of the recent-SYN table");
  app.add_option("--retransmitted", options.retransmitted_percent, "of a hundred SYNs")
      ->check(CLI::Range(0, 100));
  app.add_option("--form", options.form, "of the option")
      ->check(CLI::IsMember({"address", "address-tag", "tag"}));
  app.add_option("--rounds", options.n_rounds)->check(CLI::Range(1, 1000));
  app.add_option("--packets", options.n_packets, "per contestant and round");
  app.add_option("--cpu", options.cpu, "the CPU to run on");
  app.add_flag("--hugepages", options.hugepages);
  CLI11_PARSE(app, argc, argv);

  crab::perf::start_eal(options);
  crab::perf::Generator generator({.form = crab::perf::parse_form(options.form),
                                   .n_services = options.n_services,
                                   .retransmitted_percent = options.retransmitted_percent});
  crab::perf::start_port(generator);
  std::printf("%u services, %u backends each, option %s, %u recent SYNs, %u%% retransmitted, %s\n",
              options.n_services, options.n_backends, options.form.c_str(),
              options.recent_syn_entries, options.retransmitted_percent,
              options.hugepages ? "hugepages" : "no hugepages");
  crab::perf::compare(options);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "crab-perf-datapath: %s\n", e.what());
  return 1;
}
