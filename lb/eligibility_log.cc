// SPDX-License-Identifier: Apache-2.0
#include "lb/eligibility_log.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <set>
#include <utility>

namespace crab {

namespace {

// A first ARP answer takes less, and no answer three seconds: until then nothing is worth a line.
constexpr std::chrono::seconds kSettle{1};
// So that a rack that goes dark does not fill the disk.
constexpr std::size_t kMaxLines = 50;

std::string endpoint_text(const IpAddress& address, std::uint16_t port) {
  return address.is_v4() ? fmt::format("{}:{}", address.to_string(), port)
                         : fmt::format("[{}]:{}", address.to_string(), port);
}

}  // namespace

void EligibilityLog::published(const SnapshotSpec& spec) {
  n_eligible_.clear();
  for (const ServiceSpec& service : spec.services) {
    n_eligible_[{service.address, to_host(service.port)}] = service.eligible.size();
  }
  report_later();
}

void EligibilityLog::keep_only(const std::vector<IpAddress>& addresses) {
  const std::set<IpAddress> kept(addresses.begin(), addresses.end());
  const auto is_gone = [&kept](const auto& entry) { return !kept.contains(entry.first); };
  std::erase_if(unreachable_, is_gone);
  std::erase_if(reported_unreachable_, is_gone);
}

void EligibilityLog::next_hop_changed(const IpAddress& address, const NextHopState& state) {
  if (state.next_hop) {
    unreachable_.erase(address);
  } else {
    unreachable_[address] = state.reason;
  }
  report_later();
}

void EligibilityLog::report_later() {
  if (std::exchange(waiting_, true)) return;
  timer_.expires_after(kSettle);
  timer_.async_wait([this](const boost::system::error_code& error) {
    if (!error) report();
  });
}

void EligibilityLog::report() {
  waiting_ = false;
  std::size_t n_lines = 0;
  const auto log = [&n_lines](spdlog::level::level_enum level, const std::string& line) {
    if (n_lines++ < kMaxLines) spdlog::log(level, "{}", line);
  };
  for (const auto& [endpoint, n] : n_eligible_) {
    const auto before = reported_.find(endpoint);
    if (before != reported_.end() && before->second == n) continue;
    log(n == 0 ? spdlog::level::warn : spdlog::level::info,
        fmt::format("service {}: {} eligible backend{}",
                    endpoint_text(endpoint.first, endpoint.second), n, n == 1 ? "" : "s"));
  }
  for (const auto& [address, reason] : unreachable_) {
    const auto before = reported_unreachable_.find(address);
    if (before != reported_unreachable_.end() && before->second == reason) continue;
    log(spdlog::level::warn,
        fmt::format("backends at {} get no connections: {}", address.to_string(), reason));
  }
  for (const auto& [address, reason] : reported_unreachable_) {
    if (unreachable_.contains(address)) continue;
    log(spdlog::level::info, fmt::format("backends at {}: reachable", address.to_string()));
  }
  if (n_lines > kMaxLines) {
    spdlog::warn("{} more such lines are left out: see `crabctl backend list`",
                 n_lines - kMaxLines);
  }
  reported_ = n_eligible_;
  reported_unreachable_ = unreachable_;
}

}  // namespace crab
