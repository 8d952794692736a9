// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/accepted_nodes.h"

#include <atomic>
#include <cerrno>

#include "kernel_patch/agent/endpoint_record.h"

namespace crab {
namespace {

constexpr char kPin[] = "accepted_bases";

std::uint64_t load_of(__u64& word) { return std::atomic_ref(word).load(); }

// No connection has node 0: its place in the first element says that the bases are in use.
constexpr unsigned kNoNode = 0;

SharedMap<crab_accepted_base> open_bases(const PinDirectory& directory) {
  ensure_array(directory, kPin, sizeof(crab_accepted_base), CRAB_MAX_WATCHED);
  return {directory, kPin, CRAB_MAX_WATCHED};
}

}  // namespace

std::uint64_t advance_accepted(std::uint64_t shown, std::uint64_t in_kernel, std::uint64_t* base) {
  // A base may be below zero, modulo 2^64: differences are what counts.
  const std::uint64_t gained = *base + in_kernel - shown;
  if (static_cast<std::int64_t>(gained) >= 0) return shown + gained;
  *base = shown;
  return shown + in_kernel;
}

AcceptedNodes::AcceptedNodes(const PinDirectory& directory, LoadMaps& maps)
    : maps_(maps), bases_(open_bases(directory)) {
  netlink_.find();
  if (bases_[0].by_node[kNoNode] == 0) begin(maps_.watched());
}

AcceptedNodes::Counts AcceptedNodes::in_kernel() {
  std::vector<AcceptedReading> readings;
  try {
    readings = netlink_.accepted();
  } catch (const NetlinkRefusal& refusal) {
    if (refusal.error() != ENOENT || !netlink_.find()) throw;
    rebase(maps_.watched(), {});  // loaded anew: it has begun at zero
    readings = netlink_.accepted();
  }
  Counts counts;
  for (const AcceptedReading& reading : readings) {
    counts[{reading.server, reading.node}] += reading.count;
  }
  return counts;
}

void AcceptedNodes::begin(std::span<const WatchedBackend> backends) {
  begun_.insert(begun_.end(), backends.begin(), backends.end());
}

void AcceptedNodes::rebase(std::span<const WatchedBackend> backends, const Counts& counts) {
  for (const WatchedBackend& backend : backends) {
    for (unsigned node = 1; node < 256; ++node) {
      const auto known = counts.find({backend.address, static_cast<std::uint8_t>(node)});
      const std::uint64_t now = known == counts.end() ? 0 : known->second;
      const std::uint64_t shown = load_of(maps_.load(backend.index).accepted_by_node[node]);
      std::atomic_ref(bases_[backend.index].by_node[node]).store(shown - now);
    }
  }
}

std::vector<AcceptedNodes::Step> AcceptedNodes::steps(const Counts& counts) const {
  std::vector<Step> result;
  for (const WatchedBackend& backend : maps_.watched()) {
    const auto first = counts.lower_bound({backend.address, 0});
    for (auto it = first; it != counts.end() && it->first.first == backend.address; ++it) {
      const std::uint8_t node = it->first.second;
      Step step{.shown = {.index = backend.index, .node = node},
                .base = load_of(bases_[backend.index].by_node[node])};
      const std::uint64_t before = load_of(maps_.load(backend.index).accepted_by_node[node]);
      step.shown.n = advance_accepted(before, it->second, &step.base);
      result.push_back(step);
    }
  }
  return result;
}

void AcceptedNodes::refresh() {
  const Counts counts = in_kernel();
  rebase(begun_, counts);
  begun_.clear();
  bases_[0].by_node[kNoNode] = 1;
  for (const Step& step : steps(counts)) {
    const Count& shown = step.shown;
    std::atomic_ref(bases_[shown.index].by_node[shown.node]).store(step.base);
    std::atomic_ref(maps_.load(shown.index).accepted_by_node[shown.node]).store(shown.n);
  }
}

std::vector<AcceptedNodes::Count> AcceptedNodes::peek() {
  std::vector<Count> counts;
  if (bases_[0].by_node[kNoNode] == 0) return counts;
  for (const Step& step : steps(in_kernel())) counts.push_back(step.shown);
  return counts;
}

void AcceptedNodes::remove(const PinDirectory& directory) { directory.unpin(kPin); }

}  // namespace crab
