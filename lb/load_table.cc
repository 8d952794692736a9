// SPDX-License-Identifier: Apache-2.0
#include "lb/load_table.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace crab {
namespace {

std::uint32_t clamp_to_u32(std::int64_t n) {
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(n, 0, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

LoadTable::LoadTable(const Settings& settings, Assigned assigned)
    : settings_(settings),
      assigned_(std::move(assigned)),
      host_{.struct_size = sizeof(crab_policy_host),
            .zero = 0,
            .context = this,
            .load = [](void* self, std::uint32_t slot, crab_policy_load* load) {
              *load = static_cast<const LoadTable*>(self)->load(slot);
            }} {}

const LoadTable::Slot& LoadTable::at(std::uint32_t slot) const {
  static const Slot unknown;
  return slot < slots_.size() ? slots_[slot] : unknown;
}

LoadTable::Slot& LoadTable::grow_to(std::uint32_t slot) {
  if (slot >= slots_.size()) slots_.resize(std::size_t{slot} + 1);
  return slots_[slot];
}

std::int64_t LoadTable::unconfirmed(std::uint32_t slot, const Slot& state) const {
  return static_cast<std::int64_t>(assigned_(slot) - state.counts.accepted_own) - state.offset;
}

void LoadTable::set_unconfirmed(std::uint32_t slot, Slot& state, std::int64_t n) const {
  state.offset += unconfirmed(slot, state) - n;
}

void LoadTable::reset(std::uint32_t slot) {
  Slot& state = grow_to(slot) = Slot{};
  set_unconfirmed(slot, state, 0);
}

void LoadTable::forget_reports(std::uint32_t slot) {
  Slot& state = grow_to(slot);
  if (state.source == CRAB_LOAD_ASSIGNED) return;
  state.source = CRAB_LOAD_ASSIGNED;
  state.open = 0;
  set_unconfirmed(slot, state, 0);
}

void LoadTable::report(std::uint32_t slot, const LoadSample& sample, Time now) {
  Slot& state = grow_to(slot);
  const bool is_first = state.source == CRAB_LOAD_ASSIGNED;
  // What is on its way when the first report comes is accepted within the next moments, and drops
  // out of the account below as late; after an agent's restart it stays, and expires.
  const std::int64_t n_before = is_first ? 0 : unconfirmed(slot, state);
  const bool is_rebased = is_first || state.boot_id != sample.boot_id;
  state.boot_id = sample.boot_id;
  state.open = sample.open;
  state.source = sample.event ? CRAB_LOAD_EVENT : CRAB_LOAD_PERIODIC;
  state.reported_at = now;
  state.interval = sample.interval;
  ++state.n_reports;
  if (!sample.counts) return set_unconfirmed(slot, state, 0);

  state.counts = *sample.counts;
  if (is_rebased) {
    set_unconfirmed(slot, state, n_before);
    state.sampled_at = now;
    state.sampled_assigned = assigned_(slot);
    state.least_unconfirmed = std::numeric_limits<std::int64_t>::max();
  }
  // Accepted after it had been written off: the client sent its SYN again.
  if (const std::int64_t n = unconfirmed(slot, state); n < 0) {
    if (!is_rebased) state.n_late += static_cast<std::uint64_t>(-n);
    state.offset += n;
  }
  state.least_unconfirmed = std::min(state.least_unconfirmed, unconfirmed(slot, state));
  write_off(slot, state, now);
}

// Lost is at least assigned(t - X) - accepted(t), and what never was less than that many:
// POLICIES.md, finding 5.
void LoadTable::write_off(std::uint32_t slot, Slot& state, Time now) const {
  if (now - state.sampled_at < settings_.expiry + 2 * state.interval) return;
  const auto n_overdue =
      static_cast<std::int64_t>(state.sampled_assigned - state.counts.accepted_own) - state.offset;
  const std::int64_t n_lost = std::max(n_overdue, state.least_unconfirmed);
  if (n_lost > 0) {
    state.offset += n_lost;
    state.n_written_off += static_cast<std::uint64_t>(n_lost);
  }
  state.sampled_at = now;
  state.sampled_assigned = assigned_(slot);
  state.least_unconfirmed = std::numeric_limits<std::int64_t>::max();
}

crab_policy_load LoadTable::load(std::uint32_t slot) const {
  const Slot& state = at(slot);
  return {
      .assigned = assigned_(slot),
      .n_reports = state.n_reports,
      .open = state.open,
      .unconfirmed = clamp_to_u32(unconfirmed(slot, state)),
      .accepted_own = state.counts.accepted_own,
      .accepted_total = state.counts.accepted_total,
      .source = state.source,
      .zero = 0,
  };
}

bool LoadTable::reports(std::uint32_t slot) const { return at(slot).source != CRAB_LOAD_ASSIGNED; }

bool LoadTable::is_silent(std::uint32_t slot, Time now) const {
  const Slot& state = at(slot);
  return reports(slot) &&
         now - state.reported_at >
             std::max(settings_.min_silence, Time(settings_.silent_intervals * state.interval));
}

std::optional<LoadTable::Time> LoadTable::report_age(std::uint32_t slot, Time now) const {
  if (at(slot).n_reports == 0) return std::nullopt;
  return now - at(slot).reported_at;
}

std::uint64_t LoadTable::closed_total(std::uint32_t slot) const {
  return at(slot).counts.closed_total;
}
std::uint64_t LoadTable::n_written_off(std::uint32_t slot) const { return at(slot).n_written_off; }
std::uint64_t LoadTable::n_late(std::uint32_t slot) const { return at(slot).n_late; }

}  // namespace crab
