// SPDX-License-Identifier: Apache-2.0
#include "control/manager.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <stdexcept>
#include <utility>

namespace crab {
namespace {

constexpr std::chrono::seconds kRetryInterval{1};

Failure describe(const std::exception& e) {
  Failure failure{FailureCode::Internal,
                  "PUBLISH_FAILED",
                  "the datapath refused the change, which is not applied: " + std::string(e.what()),
                  {},
                  {}};
  if (dynamic_cast<const PolicyError*>(&e) != nullptr) {
    failure.code = FailureCode::InvalidArgument;
    failure.reason = "POLICY_REFUSED";
    failure.message = "the policy refused the backends: " + std::string(e.what());
  } else if (dynamic_cast<const std::bad_alloc*>(&e) != nullptr) {
    failure.code = FailureCode::ResourceExhausted;
    failure.reason = "OUT_OF_MEMORY";
    failure.message = "no memory for the change, which is not applied";
  }
  return failure;
}

std::optional<Failure> describe(const PublishOutcome& outcome) {
  if (outcome.applied) return std::nullopt;
  std::string workers;
  for (const unsigned worker : outcome.stuck_workers) {
    workers += (workers.empty() ? "" : ",") + std::to_string(worker);
  }
  return Failure{FailureCode::Unavailable,
                 "WORKER_STUCK",
                 "worker " + workers +
                     " does not use the change yet; the change stays and takes "
                     "effect there as soon as the worker goes on",
                 {},
                 {{"workers", workers}}};
}

Failure host_path_failure(const std::exception& e) {
  return {FailureCode::Unavailable,
          "HOST_PATH",
          "the change stays, but the host interface could not follow and is tried again: " +
              std::string(e.what()),
          {},
          {}};
}

// One line for start-up.
std::string one_line(const std::string& service, const Failure& failure) {
  std::string line = "service '" + service + "': " + failure.message;
  for (const auto& [field, why] : failure.fields) line += "; " + field + ": " + why;
  return line;
}

}  // namespace

std::shared_ptr<Manager> Manager::make(boost::asio::io_context& io, Dataplane& dataplane,
                                       std::uint8_t node, Clock now,
                                       const LoadTable::Settings& loads,
                                       std::function<WallTime()> wall) {
  return std::shared_ptr<Manager>(
      new Manager(io, dataplane, node, std::move(now), loads, std::move(wall)));
}

Manager::Manager(boost::asio::io_context& io, Dataplane& dataplane, std::uint8_t node, Clock now,
                 const LoadTable::Settings& loads, std::function<WallTime()> wall)
    : node_(node),
      dataplane_(dataplane),
      now_(std::move(now)),
      wall_(std::move(wall)),
      strand_(boost::asio::make_strand(io)),
      loads_(loads,
             [&dataplane](std::uint32_t slot) { return count_assigned_to(dataplane, slot); }),
      silence_(loads_),
      figures_(loads_, dataplane),
      tick_timer_(io),
      desired_(dataplane, loads_, {now_, wall_}),
      drains_(loads_, desired_.clocks()),
      retry_timer_(io),
      view_(std::make_shared<View>()),
      seen_loads_(std::make_shared<LoadView>()) {}

void Manager::start(const v1::Config& config) {
  // Posted, because the dataplane may call back from inside resolve(). The dataplane may also live
  // longer than io, and so holds nothing of the strand.
  dataplane_.on_next_hop(
      [weak = weak_from_this()](const IpAddress& address, const NextHopState& state) {
        const auto self = weak.lock();
        if (!self) return;
        boost::asio::post(self->strand_,
                          [self, address, state] { self->next_hop_changed(address, state); });
      });
  for (const auto& service : config.services()) {
    ChangeEffect effect;
    const auto failure = desired_.create_service(service, Owner::Config, &effect);
    if (failure) throw std::runtime_error(one_line(service.name(), *failure));
  }
  publish();
  if (problem_) throw std::runtime_error("first snapshot: " + problem_->message);
  tick_later();
}

void Manager::stop() {
  stopped_ = true;
  retry_timer_.cancel();
  tick_timer_.cancel();
  waiting_.clear();
}

void Manager::submit(Change change, Done done, Answer when) {
  boost::asio::post(strand_,
                    [self = shared_from_this(), change = std::move(change), done = std::move(done),
                     when]() mutable { self->apply(std::move(change), std::move(done), when); });
}

void Manager::with_state(std::function<void(const DesiredState&)> read) {
  boost::asio::post(strand_, [self = shared_from_this(), read = std::move(read)] {
    if (!self->stopped_) read(self->desired_);
  });
}

void Manager::apply(Change change, Done done, Answer when) {
  if (stopped_) return;
  ChangeEffect effect;
  effect.validate_only = when == Answer::WhenChecked;
  const auto now = view();
  if (const auto failure = change(desired_, &effect)) {
    return done(failure, {now, {}, now->revision});
  }
  if (when == Answer::WhenChecked) {
    return done(std::nullopt, {now, std::move(effect), now->revision, false});
  }
  if (when == Answer::WhenAccepted) {
    done(std::nullopt, {now, effect, now->revision + (effect.changed ? 1 : 0), false});
    if (!effect.changed) return;
    done = [](const auto& failure, const Reply&) {
      if (failure) spdlog::error("a change that was accepted: {}", failure->message);
    };
  }
  Waiting waiting{std::move(change), std::move(done), std::move(effect)};
  // A repetition of what is in force already needs no publication; one of what is only on its way
  // waits for it.
  if (!waiting.effect.changed && waiting_.empty() && !problem_) return answer(waiting);
  waiting_.push_back(std::move(waiting));
  schedule_flush();
}

// The flush queues up behind the changes that have arrived by now, and so publishes them together.
void Manager::schedule_flush() {
  if (std::exchange(flush_scheduled_, true)) return;
  boost::asio::post(strand_, [self = shared_from_this()] { self->flush(); });
}

void Manager::flush() {
  flush_scheduled_ = false;
  if (stopped_) return;
  auto waiting = std::exchange(waiting_, {});
  try {
    publish();
    for (const auto& one : waiting) answer(one);
  } catch (const std::exception& e) {
    desired_.rollback();
    if (waiting.empty())
      spdlog::error("publishing a change of health failed, to be retried: {}", e.what());
    if (waiting.size() == 1) refuse(waiting.front(), describe(e));
    // One of several spoils it for all: each alone, so that only that one fails.
    if (waiting.size() > 1) {
      for (auto& one : waiting) retry_alone(one);
    }
    if (health_changed_) retry_later();
  }
}

void Manager::retry_alone(Waiting& waiting) {
  waiting.effect = {};
  if (const auto failure = waiting.change(desired_, &waiting.effect)) {
    return refuse(waiting, *failure);
  }
  try {
    if (waiting.effect.changed) publish();
    answer(waiting);
  } catch (const std::exception& e) {
    desired_.rollback();
    refuse(waiting, describe(e));
  }
}

void Manager::answer(const Waiting& waiting) const {
  const auto now = view();
  waiting.done(problem_, {now, waiting.effect, now->revision});
}

void Manager::refuse(const Waiting& waiting, const Failure& failure) const {
  const auto now = view();
  waiting.done(failure, {now, {}, now->revision});
}

void Manager::publish() {
  auto next = std::make_shared<View>();
  const auto before = view();
  next->revision = before->revision + 1;
  next->services.insert(desired_.services().begin(), desired_.services().end());
  next->next_hops = next_hops_;
  next->silent = silence_.silent();
  next->verdicts = share_verdicts();
  next->frozen = leases_.frozen();
  judge_minima(next.get());
  next->ramps = slow_start_.follow(*next, now());
  follow_statuses(*before, wall_(), next.get());
  const PublishOutcome outcome = publish_measured(make_snapshot_spec(*next, node_));

  desired_.mark(next->revision + 1);
  silence_.published(desired_.services());
  forget_verdicts(*before);
  health_changed_ = false;
  const bool had_problem = problem_.has_value();
  problem_ = describe(outcome);
  drains_.published(*next, outcome.applied, now());
  counters_.n_leases.store(static_cast<std::uint32_t>(desired_.leases().size()),
                           std::memory_order_relaxed);
  {
    const std::scoped_lock lock(mutex_);
    view_ = next;
  }
  if (on_published_) on_published_(*next);
  try {
    follow_addresses();
  } catch (const std::exception& e) {
    if (!problem_) problem_ = host_path_failure(e);
  }
  if (problem_) {
    spdlog::error("revision {}: {}", view()->revision, problem_->message);
    retry_later();
  }
  if (on_serving_ && had_problem != problem_.has_value()) on_serving_(!problem_);
}

PublishOutcome Manager::publish_measured(const SnapshotSpec& spec) {
  const auto begin = std::chrono::steady_clock::now();
  try {
    const PublishOutcome outcome = dataplane_.publish(spec);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    const auto& bounds = PublishStats::kBoundsSeconds;
    const auto bucket = std::lower_bound(bounds.begin(), bounds.end(), took.count());
    const std::scoped_lock lock(mutex_);
    ++(outcome.applied ? stats_.n_applied : stats_.n_stuck);
    ++stats_.n_by_latency[static_cast<std::size_t>(bucket - bounds.begin())];
    stats_.sum_seconds += took.count();
    return outcome;
  } catch (...) {
    const std::scoped_lock lock(mutex_);
    ++stats_.n_failed;
    throw;
  }
}

// Has the host interface announce what is served, and next hops kept for what is balanced to. After
// the swap, so that nothing is announced that the workers do not know.
void Manager::follow_addresses() {
  std::map<IpAddress, bool> announce;
  std::vector<IpAddress> backends;
  for (const auto& [name, record] : desired_.services()) {
    announce[record->definition.address] |= record->definition.announce;
    for (const auto& [id, backend] : record->backends) {
      backends.push_back(backend.definition.address);
    }
  }
  std::vector<VirtualAddress> virtual_addresses;
  for (const auto& [address, wanted] : announce) virtual_addresses.push_back({address, wanted});
  std::sort(backends.begin(), backends.end());
  backends.erase(std::unique(backends.begin(), backends.end()), backends.end());

  if (backends != backend_addresses_) {
    backend_addresses_ = std::move(backends);
    backends_due_ = true;
    std::erase_if(next_hops_, [&](const auto& known) { return !is_backend(known.first); });
  }
  if (virtual_addresses != virtual_addresses_) {
    virtual_addresses_ = std::move(virtual_addresses);
    virtual_due_ = true;
  }
  // Due until the dataplane has taken them without throwing.
  if (backends_due_) dataplane_.resolve(backend_addresses_);
  backends_due_ = false;
  if (virtual_due_) dataplane_.set_virtual_addresses(virtual_addresses_);
  virtual_due_ = false;
}

bool Manager::is_backend(const IpAddress& address) const {
  return std::binary_search(backend_addresses_.begin(), backend_addresses_.end(), address);
}

void Manager::retry_later() {
  retry_timer_.expires_after(kRetryInterval);
  retry_timer_.async_wait(boost::asio::bind_executor(
      strand_, [weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self) return;
        self->schedule_flush();
      }));
}

std::shared_ptr<const LoadView> Manager::loads() const {
  const std::scoped_lock lock(mutex_);
  return seen_loads_;
}

std::shared_ptr<const View> Manager::view() const {
  const std::scoped_lock lock(mutex_);
  return view_;
}

PublishStats Manager::publish_stats() const {
  const std::scoped_lock lock(mutex_);
  return stats_;
}

}  // namespace crab
