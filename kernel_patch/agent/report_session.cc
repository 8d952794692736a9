// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/report_session.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>

#include "kernel_patch/agent/session_status.h"

namespace crab {
namespace {

UniqueFd connect_to(const SocketAddress& to) {
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  v4.sin_family = AF_INET;
  v6.sin6_family = AF_INET6;
  v4.sin_port = v6.sin6_port = htons(to.port);
  std::memcpy(&v4.sin_addr, to.address.bytes.data(), sizeof v4.sin_addr);
  std::memcpy(&v6.sin6_addr, to.address.bytes.data(), sizeof v6.sin6_addr);
  const bool is_v4 = to.address.is_v4();
  UniqueFd fd(socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const auto* address =
      is_v4 ? reinterpret_cast<const sockaddr*>(&v4) : reinterpret_cast<const sockaddr*>(&v6);
  if (!fd || connect(fd.get(), address, is_v4 ? sizeof v4 : sizeof v6) != 0) {
    throw AgentError(fmt::format("cannot send load reports to {} port {}: {}",
                                 to.address.to_string(), to.port,
                                 std::generic_category().message(errno)));
  }
  return fd;
}

}  // namespace

bool SessionTerms::is_same_session(const SessionTerms& other) const {
  return session == other.session && nonce == other.nonce && key == other.key &&
         node == other.node && report_to == other.report_to;
}

ReportSession::ReportSession(SessionTerms terms, crab_session* status)
    : terms_(std::move(terms)), status_(status), socket_(connect_to(terms_.report_to)) {}

void ReportSession::set_terms(SessionTerms terms) {
  terms_ = std::move(terms);
  heartbeat_at_ = {};
}

void ReportSession::set_backends(std::vector<WatchedBackend> backends) {
  backends_ = std::move(backends);
  places_.clear();
  for (const WatchedBackend& backend : backends_) places_.emplace(backend.index, places_.size());
  is_changed_.assign(backends_.size(), 0);
  n_changed_ = 0;
  heartbeat_at_ = {};
}

void ReportSession::note(std::uint32_t index, std::uint32_t changed) {
  if (changed == CRAB_LOAD_ACCEPTED && !terms_.report_accepts) return;
  const auto place = places_.find(index);
  if (place == places_.end() || is_changed_[place->second] != 0) return;
  is_changed_[place->second] = 1;
  ++n_changed_;
}

ReportSession::Clock::time_point ReportSession::due() const {
  if (backends_.empty()) return Clock::time_point::max();
  return n_changed_ > 0 ? std::min(heartbeat_at_, event_after_) : heartbeat_at_;
}

void ReportSession::send_due(const LoadMaps& maps, Clock::time_point now) {
  if (due() > now) return;
  if (heartbeat_at_ <= now) {
    send_all(maps, 0);
    heartbeat_at_ += terms_.heartbeat_interval;
    if (heartbeat_at_ <= now) heartbeat_at_ = now + terms_.heartbeat_interval;
  } else {
    send_changed(maps);
  }
  event_after_ = now + terms_.coalescing_interval;
}

void ReportSession::say_goodbye(const LoadMaps& maps) { send_all(maps, CRAB_REPORT_GOODBYE); }

void ReportSession::send_all(const LoadMaps& maps, std::uint8_t flags) {
  std::fill(is_changed_.begin(), is_changed_.end(), 0);
  n_changed_ = 0;
  send(maps, backends_, flags);
}

void ReportSession::send_changed(const LoadMaps& maps) {
  std::vector<WatchedBackend> changed;
  for (std::size_t i = 0; i < backends_.size(); ++i) {
    if (is_changed_[i] != 0) changed.push_back(backends_[i]);
    is_changed_[i] = 0;
  }
  n_changed_ = 0;
  const std::uint64_t before = status_->n_reports;
  send(maps, changed, 0);
  add_to(&status_->n_event_reports, status_->n_reports - before);
}

LoadReportRecord ReportSession::record_of(const LoadMaps& maps,
                                          const WatchedBackend& backend) const {
  // Cleared before the counts are read: what comes after wakes us again.
  std::atomic_ref(maps.load(backend.index).changed).store(0);
  LoadReportRecord record{.address = backend.address.address, .port = backend.address.port};
  record.accepted_own = maps.accepted_from(backend.index, terms_.node);
  const LoadCounts counts = maps.counts(backend.index);
  record.open = static_cast<std::uint32_t>(std::min<std::uint64_t>(counts.open(), UINT32_MAX));
  record.accepted_total = counts.accepted;
  record.closed_total = counts.closed;
  return record;
}

void ReportSession::send(const LoadMaps& maps, std::span<const WatchedBackend> backends,
                         std::uint8_t flags) {
  flags |= CRAB_REPORT_EVENT;
  if (terms_.report_accepts) flags |= CRAB_REPORT_ACCEPTS;
  while (!backends.empty()) {
    std::array<LoadReportRecord, CRAB_REPORT_MAX_RECORDS> records;
    const std::size_t n = std::min(backends.size(), records.size());
    for (std::size_t i = 0; i < n; ++i) records[i] = record_of(maps, backends[i]);
    backends = backends.subspan(n);
    const LoadReportHeader header{
        .flags = flags,
        .node = terms_.node,
        .session = terms_.session,
        .nonce = terms_.nonce,
        .boot_id = maps.settings().boot_id,
        .sequence = ++sequence_,
        .interval_us = static_cast<std::uint32_t>(terms_.heartbeat_interval.count())};
    std::array<std::uint8_t, CRAB_REPORT_MAX_LEN> datagram;
    const std::size_t length =
        encode_load_report(header, std::span(records).first(n), terms_.key, datagram);
    transmit(std::span(datagram).first(length));
  }
}

void ReportSession::transmit(std::span<const std::uint8_t> datagram) {
  // An error may be that of the datagram before (ICMP), reported instead of sending this one.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (::send(socket_.get(), datagram.data(), datagram.size(), MSG_NOSIGNAL) >= 0) {
      add_to(&status_->n_reports, 1);
      return;
    }
    add_to(&status_->n_send_failures, 1);
    set_text(status_->last_error,
             fmt::format("cannot send a report: {}", std::generic_category().message(errno)));
  }
}

}  // namespace crab
