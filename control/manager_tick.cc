// SPDX-License-Identifier: Apache-2.0
// What the manager learns besides requests: next hops, verdicts of health checks, reports, and that
// time has passed.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <set>
#include <utility>

#include "control/manager.h"

namespace crab {
namespace {

constexpr std::chrono::milliseconds kTickInterval{50};
constexpr std::size_t kMeasuredInTick = 1'000;  // services and backends

}  // namespace

void Manager::next_hop_changed(const IpAddress& address, const NextHopState& state) {
  if (!is_backend(address)) return;
  const auto [info, fresh] = next_hops_.try_emplace(address);
  if (!fresh && info->second.state == state) return;
  info->second.state = state;
  info->second.was_resolved |= state.next_hop.has_value();
  health_changed_ = true;
  schedule_flush();
}

void Manager::set_health(const std::string& service, const std::string& backend,
                         const Endpoint& checked, HealthVerdict verdict) {
  const auto found = desired_.services().find(service);
  if (found == desired_.services().end()) return;
  const auto record = found->second->backends.find(backend);
  if (record == found->second->backends.end()) return;
  if (record->second.definition.endpoint() != checked) return;
  const std::uint32_t slot = *record->second.load_slot;
  auto& verdicts = verdicts_[service];
  if (verdicts.current) {
    const auto before = verdicts.current->find(slot);
    if (before != verdicts.current->end() && before->second == verdict) return;
  }
  verdicts.edit()[slot] = std::move(verdict);
  health_changed_ = true;
  schedule_flush();
}

Verdicts& Manager::OwnVerdicts::edit() {
  if (is_shared || !current) current = std::make_shared<Verdicts>(current ? *current : Verdicts());
  is_shared = false;
  return *current;
}

VerdictsOfServices Manager::share_verdicts() {
  VerdictsOfServices shared;
  for (auto& [name, verdicts] : verdicts_) {
    verdicts.is_shared = true;
    shared.emplace(name, verdicts.current);
  }
  return shared;
}

// So that a backend that is registered again later is new.
void Manager::forget_verdicts(const View& before) {
  std::erase_if(verdicts_,
                [this](const auto& known) { return !desired_.services().contains(known.first); });
  for (auto& [name, verdicts] : verdicts_) {
    const ServiceRecord* service = desired_.services().at(name).get();
    if (before.find(name) == service) continue;
    std::set<std::uint32_t> slots;
    for (const auto& [id, backend] : service->backends) slots.insert(*backend.load_slot);
    const auto is_gone = [&](const auto& known) { return !slots.contains(known.first); };
    if (std::none_of(verdicts.current->begin(), verdicts.current->end(), is_gone)) continue;
    std::erase_if(verdicts.edit(), is_gone);
  }
}

void Manager::reported(std::span<const std::uint32_t> load_slots) {
  for (const std::uint32_t slot : load_slots) {
    if (!loads_.reports(slot)) silence_.goodbye(slot);
  }
  dataplane_.loads_changed(load_slots);
}

void Manager::tick_later() {
  tick_timer_.expires_after(kTickInterval);
  tick_timer_.async_wait(boost::asio::bind_executor(
      strand_, [weak = weak_from_this()](const boost::system::error_code& error) {
        const auto self = weak.lock();
        if (error || !self || self->stopped_) return;
        self->tick();
        self->tick_later();
      }));
}

void Manager::tick() {
  if (before_tick_) before_tick_();
  const bool silence_changed = silence_.check(desired_.services(), now());
  if (silence_changed || slow_start_.is_due(now())) {
    health_changed_ = true;
    schedule_flush();
  }
  end_drains();
  end_leases();
  dataplane_.all_loads_changed();

  const auto current = view();
  std::size_t n = current->services.size();
  for (const auto& [name, service] : current->services) n += service->backends.size();
  // What it costs stays below a few per cent of the strand's time.
  if (n_ticks_++ % (1 + n / kMeasuredInTick) != 0) return;
  auto measured = figures_.measure(*current, now());
  const std::scoped_lock lock(mutex_);
  seen_loads_ = std::move(measured);
}

// Each a change like a request's, so that one that cannot be published is taken back, and due again
// with the next tick.
void Manager::end_drains() {
  for (const auto& step : drains_.due(now())) {
    auto change = [step](DesiredState& state, ChangeEffect* effect) {
      return step.by == DrainedBy::Nothing
                 ? state.remove_drained(step.service, step.id, effect)
                 : state.finish_drain(step.service, step.id, step.by, step.reason, effect);
    };
    apply(change, [step, &counters = counters_](const auto& failure, const Reply& reply) {
      if (failure || !reply.effect.changed || step.by == DrainedBy::Nothing) return;
      const bool zero = step.by == DrainedBy::ZeroConnections;
      (zero ? counters.n_drained_by_zero : counters.n_drained_by_deadline) += 1;
      spdlog::info("service '{}': backend '{}' is drained: {}", step.service, step.id, step.reason);
    });
  }
}

void Manager::end_leases() {
  const auto frozen_before = leases_.frozen();
  for (const auto& id : leases_.due(desired_)) expire(id);
  if (leases_.frozen() == frozen_before) return;
  health_changed_ = true;
  schedule_flush();
}

void Manager::expire(const std::string& lease) {
  apply([lease](DesiredState& state,
                ChangeEffect* effect) { return state.expire_lease(lease, effect); },
        [lease, &counters = counters_](const auto& failure, const Reply& reply) {
          if (failure || !reply.effect.changed) return;
          counters.n_expired_leases += 1;
          spdlog::warn("lease '{}' has run out", lease);
        });
}

void Manager::keep_alive(const std::string& lease, std::function<void(const LeaseRecord*)> done) {
  boost::asio::post(strand_, [self = shared_from_this(), lease, done = std::move(done)] {
    if (self->stopped_) return;
    bool revives = false;
    if (!self->desired_.keep_alive(lease, &revives)) return done(nullptr);
    if (!revives) return done(&self->desired_.leases().at(lease));
    self->apply([lease](DesiredState& state,
                        ChangeEffect* effect) { return state.revive_lease(lease, effect); },
                [self, lease, done](const auto&, const Reply&) {
                  const auto& leases = self->desired_.leases();
                  const auto found = leases.find(lease);
                  done(found == leases.end() ? nullptr : &found->second);
                });
  });
}

void Manager::release_freeze(const std::string& service,
                             std::function<void(std::size_t n_leases)> done) {
  boost::asio::post(strand_, [self = shared_from_this(), service, done = std::move(done)] {
    if (self->stopped_) return;
    const auto released = self->leases_.release(self->desired_, service);
    if (!released.empty()) {
      spdlog::warn("service '{}': the freeze is released, {} leases run out", service,
                   released.size());
      self->health_changed_ = true;
    }
    for (const auto& lease : released) self->expire(lease);
    if (!released.empty()) self->schedule_flush();
    done(released.size());
  });
}

}  // namespace crab
