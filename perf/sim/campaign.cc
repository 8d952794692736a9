// SPDX-License-Identifier: Apache-2.0
#include "perf/sim/campaign.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <thread>

namespace crab::sim {
namespace {

Average average(const std::vector<Result>& results, std::size_t first, unsigned n) {
  Average sum;
  double least = results[first].p99.count();
  double greatest = least;
  for (std::size_t i = first; i < first + n; ++i) {
    const Result& r = results[i];
    sum.mean_ms += r.mean.count() / n;
    sum.p50_ms += r.p50.count() / n;
    sum.p99_ms += r.p99.count() / n;
    sum.p999_ms += r.p999.count() / n;
    sum.share += r.share / n;
    sum.n_lost_to_crash += static_cast<double>(r.n_lost_to_crash) / n;
    sum.n_unconfirmed += static_cast<double>(r.n_unconfirmed) / n;
    least = std::min(least, r.p99.count());
    greatest = std::max(greatest, r.p99.count());
  }
  sum.p99_spread = sum.p99_ms > 0 ? (greatest - least) / sum.p99_ms : 0;
  sum.rule = results[first].rule;
  return sum;
}

}  // namespace

std::vector<Average> run_all(const std::vector<Scenario>& scenarios, const Effort& effort) {
  const std::size_t n_runs = scenarios.size() * effort.n_seeds;
  std::vector<Result> results(n_runs);
  std::atomic<std::size_t> next{0};
  std::vector<std::exception_ptr> failures(effort.n_threads);
  const auto work = [&](unsigned thread) {
    try {
      for (std::size_t i = next++; i < n_runs; i = next++) {
        Scenario scenario = scenarios[i / effort.n_seeds];
        scenario.other_seed = 1 + i % effort.n_seeds;
        scenario.seed = effort.same_requests ? 1 : scenario.other_seed;
        scenario.n_requests = std::min(scenario.n_requests, effort.max_requests);
        results[i] = simulate(scenario);
      }
    } catch (...) {
      failures[thread] = std::current_exception();
      next = n_runs;
    }
  };
  {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < effort.n_threads; ++i) threads.emplace_back(work, i);
  }
  for (const auto& failure : failures) {
    if (failure) std::rethrow_exception(failure);
  }
  std::vector<Average> averages;
  for (std::size_t i = 0; i < n_runs; i += effort.n_seeds) {
    averages.push_back(average(results, i, effort.n_seeds));
  }
  return averages;
}

}  // namespace crab::sim
