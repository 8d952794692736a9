// SPDX-License-Identifier: Apache-2.0
// The single writer. One Asio strand owns the desired state; changes come to it from any thread,
// are applied at once, published together, and answered when every worker uses them.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "control/control_counters.h"
#include "control/desired_state.h"
#include "control/drain_watch.h"
#include "control/lease_watch.h"
#include "control/load_view.h"
#include "control/report_counters.h"
#include "control/silence.h"
#include "control/slow_start.h"
#include "control/view.h"
#include "crab/v1/config.pb.h"
#include "lb/load_table.h"

namespace crab {

// Of Dataplane::publish calls since the start.
struct PublishStats {
  static constexpr std::array<double, 12> kBoundsSeconds = {
      0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5};
  std::uint64_t n_applied = 0;
  std::uint64_t n_stuck = 0;   // swapped, but some worker did not take it in time
  std::uint64_t n_failed = 0;  // threw: the old snapshot stays
  std::array<std::uint64_t, kBoundsSeconds.size() + 1> n_by_latency{};  // the last: above all
  double sum_seconds = 0;
};

class Manager : public std::enable_shared_from_this<Manager> {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // Preconditions: 1 <= node <= 255; io and dataplane outlive the last call of a handler.
  static std::shared_ptr<Manager> make(
      boost::asio::io_context& io, Dataplane& dataplane, std::uint8_t node,
      Clock now = std::chrono::steady_clock::now, const LoadTable::Settings& loads = {},
      std::function<WallTime()> wall = std::chrono::system_clock::now);

  // Before io runs: takes over the configured services and publishes them. Throws
  // std::runtime_error with one line for the operator.
  void start(const v1::Config& config);
  // Nothing is published from now on; changes still waiting are answered by nobody.
  void stop();

  // Applies the change to the desired state: all of it or, returning a failure, nothing. May be
  // called again after a rollback.
  using Change = std::function<std::optional<Failure>(DesiredState&, ChangeEffect*)>;
  struct Reply {
    std::shared_ptr<const View> view;  // contains the change, when it is in force
    ChangeEffect effect;
    std::uint64_t revision = 0;  // that has the change
    bool in_force = true;        // false: answered before, or never to be
  };
  // When `done` is called, if the change is not refused before.
  enum class Answer {
    WhenApplied,   // every worker uses it
    WhenAccepted,  // it is the desired state; what keeps it from being published is logged
    WhenChecked,   // nothing is changed
  };
  // On the strand, once: without a failure every worker uses the change. WORKER_STUCK and
  // HOST_PATH are the failures after which the change stays.
  using Done = std::function<void(const std::optional<Failure>&, const Reply&)>;
  // Any thread.
  void submit(Change change, Done done, Answer when = Answer::WhenApplied);
  // Any thread: calls it on the strand, with what is desired now.
  void with_state(std::function<void(const DesiredState&)> read);

  // Any thread; `done` is called on the strand, with nullptr if there is no such lease.
  void keep_alive(const std::string& lease, std::function<void(const LeaseRecord*)> done);
  // Ends the frozen leases of a service, at an operator's request.
  void release_freeze(const std::string& service, std::function<void(std::size_t n_leases)> done);

  // Any thread: the newest published state.
  std::shared_ptr<const View> view() const;
  PublishStats publish_stats() const;

  // Any thread: the loads as of the newest tick.
  std::shared_ptr<const LoadView> loads() const;
  const ReportCounters& report_counters() const { return report_counters_; }
  ControlCounters& counters() { return counters_; }
  const ControlCounters& counters() const { return counters_; }

  // For those who bring reports; the table and the counters are the strand's to write.
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  const Strand& strand() const { return strand_; }
  LoadTable& load_table() { return loads_; }
  ReportCounters& report_counters() { return report_counters_; }
  LoadTable::Time now() const { return now_().time_since_epoch(); }
  // Strand: reports have been taken about these slots.
  void reported(std::span<const std::uint32_t> load_slots);

  // Strand: what a health check has found about the backend of a service at the address and port
  // that it asked; a verdict about another address than the backend has now is ignored. In force
  // with the next publication, which follows at once. A verdict stands until the next one, for as
  // long as the backend is registered there. Backends of a service that has checks
  // (Service.health) are not eligible before their first.
  void set_health(const std::string& service, const std::string& backend, const Endpoint& checked,
                  HealthVerdict verdict);

  // Strand: every 50 ms by itself, or when a test says so. Looks for silence, for steps of slow
  // starts, for drains and leases that end, and brings loads and policies' keys up to date.
  void tick();
  // Called on the strand, set before start(): at the beginning of each tick, to take the reports
  // that wait; and after each publication.
  void before_tick(std::function<void()> callback) { before_tick_ = std::move(callback); }
  void on_published(std::function<void(const View&)> callback) {
    on_published_ = std::move(callback);
  }

  // Called on the strand with false when a publication is not fully in force, with true when one
  // is again. Set it before start().
  void on_serving(std::function<void(bool)> callback) { on_serving_ = std::move(callback); }

 private:
  struct Waiting {
    Change change;
    Done done;
    ChangeEffect effect;
  };

  // Copied when a view has it: others may read that.
  struct OwnVerdicts {
    std::shared_ptr<Verdicts> current;
    bool is_shared = false;
    Verdicts& edit();
  };

  Manager(boost::asio::io_context& io, Dataplane& dataplane, std::uint8_t node, Clock now,
          const LoadTable::Settings& loads, std::function<WallTime()> wall);

  void apply(Change change, Done done, Answer when = Answer::WhenApplied);
  void schedule_flush();
  void flush();
  void retry_alone(Waiting& waiting);
  void retry_later();
  void answer(const Waiting& waiting) const;
  void refuse(const Waiting& waiting, const Failure& failure) const;
  void next_hop_changed(const IpAddress& address, const NextHopState& state);

  // Throws what Dataplane::publish throws, with nothing changed; otherwise what is desired is
  // published, and problem_ says what keeps it from being in force.
  void publish();
  PublishOutcome publish_measured(const SnapshotSpec& spec);
  void follow_addresses();
  VerdictsOfServices share_verdicts();
  void forget_verdicts(const View& before);
  bool is_backend(const IpAddress& address) const;

  void tick_later();
  void end_drains();
  void end_leases();
  void expire(const std::string& lease);

  const std::uint8_t node_;
  Dataplane& dataplane_;
  const Clock now_;
  const std::function<WallTime()> wall_;
  const Strand strand_;

  // Strand only.
  LoadTable loads_;  // policies hold its host: it outlives them all
  ReportCounters report_counters_;
  SilenceWatch silence_;
  SlowStart slow_start_;
  LoadFigures figures_;
  std::uint64_t n_ticks_ = 0;
  std::function<void()> before_tick_;
  std::function<void(const View&)> on_published_;
  boost::asio::steady_timer tick_timer_;
  DesiredState desired_;
  DrainWatch drains_;
  LeaseWatch leases_;
  ControlCounters counters_;
  std::map<IpAddress, NextHopInfo> next_hops_;  // of exactly the backends' addresses
  std::map<std::string, OwnVerdicts> verdicts_;
  // What the dataplane was told last, or, while due, is to be told.
  std::vector<VirtualAddress> virtual_addresses_;
  std::vector<IpAddress> backend_addresses_;  // sorted
  bool virtual_due_ = false;
  bool backends_due_ = false;
  std::vector<Waiting> waiting_;
  bool flush_scheduled_ = false;
  bool health_changed_ = false;  // next hops, checks, silence, ramps; not published yet
  bool stopped_ = false;
  std::optional<Failure> problem_;
  std::function<void(bool)> on_serving_;
  boost::asio::steady_timer retry_timer_;

  mutable std::mutex mutex_;
  std::shared_ptr<const View> view_;            // guarded by mutex_; written by the strand
  std::shared_ptr<const LoadView> seen_loads_;  // guarded by mutex_; written by the strand
  PublishStats stats_;                          // guarded by mutex_; written by the strand
};

}  // namespace crab
