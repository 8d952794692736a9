// SPDX-License-Identifier: Apache-2.0
// What a pick costs: each built-in policy at several sizes, alone and in company. perf/README.md
// says how to read what it prints.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "perf/policies/measure.h"
#include "policies/maglev.h"

namespace crab::perf {
namespace {

struct Options {
  std::vector<unsigned> backends = {48, 1000, 10'000};
  std::vector<unsigned> batches = {32, 1};
  std::vector<int> cpus = {0, 1};
  unsigned n_rounds = 15;
  std::uint64_t round_cycles = 4'000'000;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The median absolute deviation.
double spread(std::vector<double> values) {
  const double m = median(values);
  for (double& value : values) value = std::abs(value - m);
  return median(std::move(values));
}

struct Cell {
  std::vector<double> cycles;
  std::vector<double> updates;
};
using Row = std::array<Cell, kCompanies.size()>;

void print_table(std::size_t n_backends, std::size_t batch,
                 const std::vector<std::unique_ptr<Contestant>>& contestants,
                 const std::vector<Row>& rows) {
  std::printf("\n%zu backends, batch of %zu: cycles per pick (median +- MAD)\n", n_backends, batch);
  std::printf("%-22s %18s %18s %18s %18s %9s\n", "", "1 worker", "and updates", "2 workers",
              "and updates", "upd/pick");
  for (std::size_t c = 0; c < contestants.size(); ++c) {
    std::printf("%-22s", contestants[c]->name());
    for (const Cell& cell : rows[c]) {
      if (cell.cycles.empty()) {
        std::printf(" %18s", "-");
      } else {
        std::printf(" %9.1f +- %5.1f", median(cell.cycles), spread(cell.cycles));
      }
    }
    const auto& updates = rows[c][static_cast<std::size_t>(Company::Updates)].updates;
    if (!updates.empty()) std::printf(" %9.2f", median(updates));
    std::printf("\n");
  }
}

// A round in which both threads ran all the time, out of a few.
Contestant::Result run_undisturbed(Contestant& contestant, Company company, std::size_t batch,
                                   const Settings& settings) {
  constexpr double kUndisturbed = 0.98;
  constexpr int kAttempts = 20;
  Contestant::Result best;
  best.running = 0;
  for (int k = 0; k < kAttempts && best.running < kUndisturbed; ++k) {
    const auto result = contestant.run(company, batch, settings);
    if (result.running > best.running) best = result;
  }
  return best;
}

void compare(const Options& options, std::size_t n_backends) {
  std::vector<std::unique_ptr<Contestant>> contestants;
  contestants.push_back(std::make_unique<Contestant>(nullptr, n_backends));
  for (const auto* policy : built_in_policies()) {
    contestants.push_back(std::make_unique<Contestant>(policy, n_backends));
  }
  const Settings settings{{options.cpus[0], options.cpus[1]}, options.round_cycles};
  for (const unsigned batch : options.batches) {
    std::vector<Row> rows(contestants.size());
    // In turn, round by round, so that a machine that changes its speed changes it for all.
    for (unsigned round = 0; round <= options.n_rounds; ++round) {
      for (std::size_t c = 0; c < contestants.size(); ++c) {
        for (std::size_t k = 0; k < kCompanies.size(); ++k) {
          if (!contestants[c]->takes(kCompanies[k])) continue;
          const auto result = run_undisturbed(*contestants[c], kCompanies[k], batch, settings);
          if (round == 0) continue;  // warms up
          rows[c][k].cycles.push_back(result.cycles);
          rows[c][k].updates.push_back(result.updates);
        }
      }
    }
    print_table(n_backends, batch, contestants, rows);
  }
  std::printf("\n%zu backends: milliseconds to rebuild\n", n_backends);
  for (const auto& contestant : contestants) {
    if (contestant->rebuild_ms() == 0) continue;
    std::printf("%-22s %9.3f\n", contestant->name(), contestant->rebuild_ms());
  }
}

// By entry of the table, whose it is, as a number that stays when another backend goes.
std::vector<std::uint32_t> owners(const std::vector<crab_policy_backend>& backends,
                                  std::uint32_t size) {
  std::vector<std::uint32_t> out;
  for (const auto index : maglev_table(backends, size)) out.push_back(backends[index].load_slot);
  return out;
}

// What Maglev promises: an even table, of which little more moves than has to.
void judge_maglev(const std::vector<unsigned>& sizes) {
  std::printf(
      "\nmaglev: shares of all connections, equal weights, one backend going (or coming)\n");
  std::printf("%9s %11s %9s %10s %14s %12s\n", "backends", "table_size", "max/mean", "must move",
              "moved besides", "moved/must");
  for (const unsigned n : sizes) {
    const BusyFleet fleet(n);
    auto backends = fleet.backends();
    for (auto& backend : backends) backend.weight = 1;
    const std::uint32_t size = maglev_table_size(n);
    const auto before = owners(backends, size);
    std::vector<std::uint32_t> counts(n);
    for (const auto owner : before) ++counts[owner];
    const std::uint32_t gone = n / 2;
    backends.erase(backends.begin() + gone);
    const auto after = owners(backends, size);
    double n_besides = 0;
    for (std::size_t i = 0; i < size; ++i) {
      if (before[i] != gone && before[i] != after[i]) ++n_besides;
    }
    const double must = static_cast<double>(counts[gone]) / size;
    const double besides = n_besides / size;
    std::printf("%9u %11u %9.4f %9.3f%% %13.3f%% %12.2f\n", n, size,
                *std::max_element(counts.begin(), counts.end()) * static_cast<double>(n) / size,
                100 * must, 100 * besides, (must + besides) / must);
  }
}

}  // namespace
}  // namespace crab::perf

int main(int argc, char** argv) try {
  crab::perf::Options options;
  CLI::App app("Cycles per pick of each built-in policy");
  app.add_option("--backends", options.backends, "numbers of backends")
      ->check(CLI::Range(2, 10'000));
  app.add_option("--batch", options.batches, "picks in one call")
      ->check(CLI::IsMember({1, 2, 4, 8, 16, 32}));
  app.add_option("--cpus", options.cpus, "two CPUs: of the worker that is measured, and the other")
      ->expected(2);
  app.add_option("--rounds", options.n_rounds)->check(CLI::Range(1, 1000));
  app.add_option("--cycles", options.round_cycles, "of the TSC that a round lasts");
  CLI11_PARSE(app, argc, argv);
  for (const unsigned n : options.backends) crab::perf::compare(options, n);
  crab::perf::judge_maglev(options.backends);
  return 0;
} catch (const std::exception& e) {
  std::fprintf(stderr, "crab-perf-policies: %s\n", e.what());
  return 1;
}
