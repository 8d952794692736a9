// SPDX-License-Identifier: Apache-2.0
#include "kernel_patch/agent/load_reporter.h"

#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>
#include <system_error>
#include <utility>

namespace crab {

LoadReporter::LoadReporter(const LoadCounting& counting, const SharedMap<crab_session>& sessions,
                           AcceptedNodes* nodes, std::vector<SocketAddress> own)
    : counting_(counting),
      statuses_(sessions),
      audit_(counting.maps()),
      events_(ring_buffer__new(counting.events_fd(), on_event, this, nullptr), ring_buffer__free),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      nodes_(nodes),
      own_(std::move(own)) {
  if (!events_ || !wake_) {
    throw AgentError(
        fmt::format("cannot wait for connections: {}", std::generic_category().message(errno)));
  }
  watch();
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
}

void LoadReporter::finish() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  post([] {});
  thread_.join();
}

void LoadReporter::audit() {
  // A module that is unloaded takes its counts along, so they are fetched without reports, too.
  if (nodes_ != nullptr) post([this] { refresh_nodes(); });
  audit_.run();
}

void LoadReporter::set_own(std::vector<SocketAddress> own) {
  post([this, own = std::move(own)]() mutable {
    own_ = std::move(own);
    watch();
  });
}

void LoadReporter::begin(std::size_t appliance, SessionTerms terms) {
  post([this, appliance, terms = std::move(terms)]() mutable {
    apply(appliance, std::move(terms));
  });
}

void LoadReporter::end(std::size_t appliance) {
  post([this, appliance] {
    sessions_.erase(appliance);
    watch();
  });
}

void LoadReporter::post(std::function<void()> command) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(command));
  }
  eventfd_write(wake_.get(), 1);
}

void LoadReporter::apply(std::size_t appliance, SessionTerms terms) {
  const auto known = sessions_.find(appliance);
  if (known != sessions_.end() && known->second.terms().is_same_session(terms)) {
    known->second.set_terms(std::move(terms));
  } else {
    if (known != sessions_.end()) sessions_.erase(known);
    sessions_.emplace(appliance, ReportSession(std::move(terms), &statuses_[appliance]));
  }
  watch();
}

// A new backend is audited before it is reported, or it would seem idle.
void LoadReporter::watch() {
  std::vector<SocketAddress> wanted = own_;
  bool wake_accepts = false;
  for (const auto& [appliance, session] : sessions_) {
    const SessionTerms& terms = session.terms();
    wanted.insert(wanted.end(), terms.backends.begin(), terms.backends.end());
    wake_accepts = wake_accepts || terms.report_accepts;
  }
  LoadMaps& maps = counting_.maps();
  std::atomic_ref(maps.settings().wake_accepts).store(wake_accepts ? 1 : 0);
  maps.watch(wanted);
  const std::vector<WatchedBackend> watched = maps.find(wanted);
  if (watched.size() < wanted.size()) {
    spdlog::error("{} backends are more than the {} that can be counted: the rest is not reported",
                  wanted.size(), CRAB_MAX_WATCHED);
  }
  const auto is_new = [&maps](const WatchedBackend& backend) {
    return std::atomic_ref(maps.load(backend.index).audited).load() == 0;
  };
  std::vector<WatchedBackend> fresh;
  std::copy_if(watched.begin(), watched.end(), std::back_inserter(fresh), is_new);
  if (nodes_ != nullptr) nodes_->begin(fresh);
  refresh_nodes();
  if (!fresh.empty()) audit_.run();
  for (auto& [appliance, session] : sessions_) {
    session.set_backends(maps.find(session.terms().backends));
    statuses_[appliance].n_backends = static_cast<__u32>(session.terms().backends.size());
  }
}

// The reports go on without: a node then takes connections for not accepted yet.
void LoadReporter::refresh_nodes() {
  if (nodes_ == nullptr) return;
  try {
    nodes_->refresh();
    is_node_blind_ = false;
  } catch (const AgentError& error) {
    if (!std::exchange(is_node_blind_, true)) {
      spdlog::error("connections accepted are not counted by node: {}", error.what());
    }
  }
}

int LoadReporter::on_event(void* self, void* data, std::size_t) {
  crab_load_event event;
  std::memcpy(&event, data, sizeof event);
  for (auto& [appliance, session] : static_cast<LoadReporter*>(self)->sessions_) {
    session.note(event.index, event.changed);
  }
  return 0;
}

void LoadReporter::run_posted() {
  eventfd_t ignored = 0;
  eventfd_read(wake_.get(), &ignored);
  std::vector<std::function<void()>> commands;
  {
    const std::lock_guard lock(mutex_);
    commands.swap(posted_);
  }
  for (const auto& command : commands) {
    try {
      command();
    } catch (const AgentError& error) {
      spdlog::error("{}", error.what());
    }
  }
}

// Until a connection or another thread has something, or a report is due.
void LoadReporter::wait() const {
  auto due = ReportSession::Clock::time_point::max();
  for (const auto& [appliance, session] : sessions_) due = std::min(due, session.due());
  timespec timeout{};
  const bool forever = due == ReportSession::Clock::time_point::max();
  const auto now = ReportSession::Clock::now();
  if (!forever && due > now) {
    const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(due - now).count();
    timeout = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
  }
  pollfd fds[] = {{ring_buffer__epoll_fd(events_.get()), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
  if (ppoll(fds, std::size(fds), forever ? nullptr : &timeout, nullptr) < 0 && errno != EINTR) {
    throw AgentError(fmt::format("poll: {}", std::generic_category().message(errno)));
  }
}

void LoadReporter::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    wait();
    run_posted();
    ring_buffer__consume(events_.get());
    const auto now = ReportSession::Clock::now();
    const auto is_due = [now](const auto& entry) { return entry.second.due() <= now; };
    if (std::any_of(sessions_.begin(), sessions_.end(), is_due)) refresh_nodes();
    for (auto& [appliance, session] : sessions_) session.send_due(counting_.maps(), now);
  }
  refresh_nodes();
  for (auto& [appliance, session] : sessions_) session.say_goodbye(counting_.maps());
}

}  // namespace crab
