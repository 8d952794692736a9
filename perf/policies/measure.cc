// SPDX-License-Identifier: Apache-2.0
#include "perf/policies/measure.h"

#include <pthread.h>
#include <sched.h>
#include <x86intrin.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <stdexcept>
#include <thread>

#include "policies/splitmix.h"

namespace crab::perf {
namespace {

constexpr std::size_t kFlows = 4096;       // a multiple of every batch
constexpr std::size_t kPerReading = 1024;  // picks between two looks at the clock

std::uint64_t next_random(std::uint64_t* state) { return splitmix(*state += kSplitmixStep); }

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0) {
    throw std::runtime_error("cannot run on CPU " + std::to_string(cpu));
  }
}

// How much of its time this thread is let run. Other work on the machine would not only slow the
// picks down, but also keep the two threads apart whose contention is to be measured.
class RunningTime {
 public:
  double share() const {
    return (now(CLOCK_THREAD_CPUTIME_ID) - cpu_) / (now(CLOCK_MONOTONIC) - wall_);
  }

 private:
  static double now(clockid_t clock) {
    timespec t{};
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  }
  double wall_ = now(CLOCK_MONOTONIC);
  double cpu_ = now(CLOCK_THREAD_CPUTIME_ID);
};

// The compiler has to assume that somebody reads what p points to.
void keep(const void* p) { asm volatile("" : : "r"(p) : "memory"); }

}  // namespace

BusyFleet::BusyFleet(std::size_t n_backends)
    : n_reports_(n_backends),
      host_{.struct_size = sizeof(crab_policy_host), .zero = 0, .context = this, .load = load} {
  for (std::size_t i = 0; i < n_backends; ++i) ids_.push_back("backend-" + std::to_string(i));
}

// Weights 1 to 4, so that no policy takes a short cut for equal ones.
std::vector<crab_policy_backend> BusyFleet::backends() const {
  std::vector<crab_policy_backend> out;
  for (std::uint32_t i = 0; i < ids_.size(); ++i) {
    out.push_back({ids_[i].c_str(), i, 1 + i % 4});
  }
  return out;
}

void BusyFleet::load(void* context, std::uint32_t load_slot, crab_policy_load* load) {
  auto& self = *static_cast<BusyFleet*>(context);
  *load = {};
  load->n_reports = ++self.n_reports_[load_slot];
  load->open = static_cast<std::uint32_t>(next_random(&self.random_) % 8);
  load->source = CRAB_LOAD_EVENT;
}

Contestant::Contestant(const crab_policy_ops* policy, std::size_t n_backends)
    : policy_(policy), fleet_(n_backends) {
  std::uint64_t seed = n_backends;
  for (std::size_t i = 0; i < kFlows; ++i) {
    const std::uint64_t hash = next_random(&seed);
    flows_.push_back({hash, next_random(&seed)});
  }
  if (policy == nullptr) return;
  const auto backends = fleet_.backends();
  const auto instance = PolicyInstance::create(*policy, {}, fleet_.host());
  const auto start = std::chrono::steady_clock::now();
  set_ = instance->rebuild(backends);
  rebuild_ms_ =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  set_.update_all(1);
}

bool Contestant::takes(Company company) const {
  if (company == Company::None || company == Company::Worker) return true;
  return set_.uses_load();
}

void Contestant::update_next() {
  const std::uint32_t index = next_update_;
  next_update_ = index + 1 == fleet_.size() ? 0 : index + 1;
  set_.update({&index, 1}, __rdtsc());
}

template <bool kUpdating>
void Contestant::work(std::size_t batch, std::uint64_t round_cycles, Worker* worker) {
  const RunningTime running;
  std::array<std::uint32_t, kMaxBatch> picks{};
  std::uint64_t n_picks = 0;
  const std::uint64_t start = __rdtsc();
  std::uint64_t now = start;
  while (now - start < round_cycles) {
    const crab_policy_flow* flows = flows_.data() + n_picks % kFlows;
    for (std::size_t k = 0; k < kPerReading; k += batch) {
      if (policy_ != nullptr) set_.pick({flows + k, batch}, {picks.data(), batch});
      keep(picks.data());
      keep(flows + k);
      if constexpr (kUpdating) {
        for (std::size_t i = 0; i < batch; ++i) update_next();
      }
    }
    n_picks += kPerReading;
    n_picked_.store(n_picks, std::memory_order_relaxed);
    now = __rdtsc();
  }
  *worker = {n_picks, now - start, start, running.share()};
}

// The control thread's part: as many updates as there were picks, or as many as it can.
std::uint64_t Contestant::update_beside(Worker* worker) {
  const RunningTime running;
  worker->start = __rdtsc();
  std::uint64_t n_updates = 0;
  while (!done_.load(std::memory_order_relaxed)) {
    if (n_updates < n_picked_.load(std::memory_order_relaxed)) {
      update_next();
      ++n_updates;
    } else {
      _mm_pause();
    }
  }
  worker->running = running.share();
  return n_updates;
}

Contestant::Result Contestant::run(Company company, std::size_t batch, const Settings& settings) {
  std::array<Worker, 2> workers;
  std::uint64_t n_updates = 0;
  n_picked_ = 0;
  done_ = false;
  n_ready_ = 0;
  const int n_threads = company == Company::None ? 1 : 2;
  const auto begin = [&](int cpu) {
    pin(cpu);
    ++n_ready_;
    while (n_ready_ < n_threads) _mm_pause();
  };
  std::thread other;
  if (n_threads == 2) {
    other = std::thread([&] {
      begin(settings.cpus[1]);
      if (company == Company::Updates) {
        n_updates = update_beside(&workers[1]);
      } else if (company == Company::Worker) {
        work<false>(batch, settings.round_cycles, &workers[1]);
      } else {
        work<true>(batch, settings.round_cycles, &workers[1]);
      }
    });
  }
  begin(settings.cpus[0]);
  work<false>(batch, settings.round_cycles, &workers[0]);
  done_ = true;
  if (other.joinable()) other.join();
  const bool both = company == Company::Worker;
  const std::uint64_t n_picks = workers[0].n_picks + (both ? workers[1].n_picks : 0);
  const std::uint64_t cycles = workers[0].cycles + (both ? workers[1].cycles : 0);
  return {static_cast<double>(cycles) / static_cast<double>(n_picks),
          static_cast<double>(n_updates) / static_cast<double>(workers[0].n_picks),
          n_threads == 2 ? together(workers, settings.round_cycles) : workers[0].running};
}

// The share of the round in which both were running, at least about that.
double Contestant::together(const std::array<Worker, 2>& workers, std::uint64_t round_cycles) {
  const auto apart = static_cast<double>(std::max(workers[0].start, workers[1].start) -
                                         std::min(workers[0].start, workers[1].start));
  return std::min(workers[0].running, workers[1].running) -
         apart / static_cast<double>(round_cycles);
}

}  // namespace crab::perf
