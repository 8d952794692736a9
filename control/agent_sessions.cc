// SPDX-License-Identifier: Apache-2.0
#include "control/agent_sessions.h"

#include <sys/random.h>

#include <cerrno>
#include <system_error>

namespace crab {
namespace {

template <typename T>
T random_value() {
  T value;
  if (getrandom(&value, sizeof value, 0) != static_cast<ssize_t>(sizeof value)) {
    throw std::system_error(errno, std::generic_category(), "getrandom");
  }
  return value;
}

void add(std::atomic<std::uint64_t>& counter, std::uint64_t n) {
  counter.store(counter.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
}

}  // namespace

std::size_t AgentSessions::EndpointHash::operator()(const Endpoint& endpoint) const noexcept {
  return std::hash<IpAddress>()(endpoint.first) * 31 + endpoint.second;
}

AgentSessions::AgentSessions(std::uint8_t node, LoadTable& loads, ReportCounters& counters)
    : node_(node), nonce_(random_value<std::uint64_t>()), loads_(loads), counters_(counters) {}

std::optional<AgentSessions::Session> AgentSessions::attach(
    const std::vector<IpAddress>& addresses) {
  if (sessions_.size() >= kMaxAgents) return std::nullopt;
  Session session;
  do {
    session.id = random_value<std::uint64_t>();
  } while (session.id == 0 || sessions_.contains(session.id));
  session.key = random_value<LoadReportKey>();
  sessions_[session.id] = {.key = session.key, .addresses = addresses};
  for (const auto& address : addresses) claimed_by_[address] = session.id;
  counters_.n_agents.store(static_cast<std::uint32_t>(sessions_.size()), std::memory_order_relaxed);
  return session;
}

void AgentSessions::detach(std::uint64_t session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end()) return;
  for (const auto& address : found->second.addresses) {
    const auto claim = claimed_by_.find(address);
    if (claim != claimed_by_.end() && claim->second == session) claimed_by_.erase(claim);
  }
  sessions_.erase(found);
  counters_.n_agents.store(static_cast<std::uint32_t>(sessions_.size()), std::memory_order_relaxed);
}

void AgentSessions::set_backends(const View& view) {
  slots_.clear();
  for (const auto& [name, service] : view.services) {
    if (service->definition.orca) continue;
    for (const auto& [id, backend] : service->backends) {
      slots_[{backend.definition.address, backend.definition.port}] = *backend.load_slot;
    }
  }
}

void AgentSessions::receive(std::span<const std::uint8_t> datagram, LoadTable::Time now,
                            std::vector<std::uint32_t>* changed_slots) {
  add(counters_.n_datagrams, 1);
  std::uint64_t id = 0;
  if (const auto error = peek_load_report_session(datagram, &id); error != LoadReportError::None) {
    return refuse(static_cast<std::size_t>(error));
  }
  const auto session = sessions_.find(id);
  if (session == sessions_.end()) {
    return refuse(static_cast<std::size_t>(ReportRefusal::UnknownSession));
  }
  const auto error = decode_load_report(datagram, session->second.key, &report_);
  if (error != LoadReportError::None) return refuse(static_cast<std::size_t>(error));
  if (const auto refusal = check(session->second, report_.header)) {
    return refuse(static_cast<std::size_t>(*refusal));
  }
  take(report_, now, changed_slots);
}

std::optional<ReportRefusal> AgentSessions::check(State& session,
                                                  const LoadReportHeader& header) const {
  if (header.node != node_) return ReportRefusal::WrongNode;
  if (header.nonce != nonce_) return ReportRefusal::WrongNonce;
  return check_sequence(session, header.sequence);
}

// Only what is newer than all before it counts; the window (RFC 6479's, of one word) is there to
// tell a replay from a datagram that was overtaken.
std::optional<ReportRefusal> AgentSessions::check_sequence(State& session, std::uint64_t sequence) {
  if (sequence > session.last_sequence) {
    const std::uint64_t step = sequence - session.last_sequence;
    session.seen = step < 64 ? session.seen << step | 1 : 1;
    session.last_sequence = sequence;
    return std::nullopt;
  }
  const std::uint64_t back = session.last_sequence - sequence;
  if (back >= 64) return ReportRefusal::Replayed;
  const std::uint64_t bit = std::uint64_t{1} << back;
  const bool was_seen = (session.seen & bit) != 0;
  session.seen |= bit;
  return was_seen ? ReportRefusal::Replayed : ReportRefusal::Reordered;
}

void AgentSessions::take(const LoadReport& report, LoadTable::Time now,
                         std::vector<std::uint32_t>* changed) {
  const LoadReportHeader& header = report.header;
  for (const LoadReportRecord& record : report.records) {
    const auto claim = claimed_by_.find(record.address);
    if (claim == claimed_by_.end() || claim->second != header.session) {
      refuse(static_cast<std::size_t>(ReportRefusal::UnclaimedAddress));
      continue;
    }
    const auto slot = slots_.find({record.address, record.port});
    if (slot == slots_.end()) {
      refuse(static_cast<std::size_t>(ReportRefusal::UnknownBackend));
      continue;
    }
    if ((header.flags & CRAB_REPORT_GOODBYE) != 0) {
      loads_.forget_reports(slot->second);
    } else {
      loads_.report(slot->second,
                    {.open = record.open,
                     .counts = LoadSample::Counts{record.accepted_own, record.accepted_total,
                                                  record.closed_total},
                     .boot_id = header.boot_id,
                     .event = (header.flags & CRAB_REPORT_EVENT) != 0,
                     .interval = std::chrono::microseconds(header.interval_us)},
                    now);
    }
    changed->push_back(slot->second);
    add(counters_.n_records, 1);
  }
}

void AgentSessions::refuse(std::size_t reason) { add(counters_.n_refused[reason], 1); }

}  // namespace crab
