// SPDX-License-Identifier: Apache-2.0
// What this node knows of each backend's load although it never sees a connection end (DESIGN,
// section 4): the backend's own cumulative counts, as its agent reports them, joined with what this
// node has assigned since.
//
// A slot is a DIP:dport, whichever services share it, and keeps its identity across snapshots.
// Workers write only the counts of assignments (WorkerCounters, a cell each, without a lock);
// everything here belongs to one thread, the control strand, which also reads those cells.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "policies/policy.h"

namespace crab {

// One backend's record in a report.
struct LoadSample {
  // What the service's load signal counts: connections from ESTABLISHED to LAST-ACK, or active
  // requests.
  std::uint32_t open = 0;
  struct Counts {
    std::uint64_t accepted_own = 0;    // handshakes completed that this node redirected
    std::uint64_t accepted_total = 0;  // all of them
    std::uint64_t closed_total = 0;
  };
  // All cumulative since boot_id. None from sources that do not count (ORCA): then what was
  // assigned before the report counts as being in `open`.
  std::optional<Counts> counts;
  std::uint64_t boot_id = 0;            // another one: the counts have started anew
  bool event = false;                   // every close is reported at once: silence means unchanged
  std::chrono::nanoseconds interval{};  // between two reports at most, as the sender promises
};

class LoadTable {
 public:
  struct Settings {
    // An assignment that is not accepted this long and two intervals after it was made is lost: a
    // SYN dropped, spoofed or refused.
    std::chrono::nanoseconds expiry = std::chrono::milliseconds(20);
    // Silent: nothing came for `silent_intervals` intervals, and for at least min_silence.
    std::chrono::nanoseconds min_silence = std::chrono::milliseconds(200);
    unsigned silent_intervals = 3;
  };
  using Time = std::chrono::nanoseconds;  // of any steady clock
  // Connections that this node has assigned to a slot since it started, all workers together.
  using Assigned = std::function<std::uint64_t(std::uint32_t slot)>;

  LoadTable(const Settings& settings, Assigned assigned);
  LoadTable(const LoadTable&) = delete;
  LoadTable& operator=(const LoadTable&) = delete;

  // The slot belongs to another DIP:dport from now on.
  void reset(std::uint32_t slot);
  // Lost, repeated and late reports are no harm as long as the caller never hands in one that is
  // older than its predecessor.
  void report(std::uint32_t slot, const LoadSample& sample, Time now);
  // No more reports are to be expected (the agent said goodbye), or they are no longer believed:
  // from here on the slot is balanced by assignments alone, until the next report.
  void forget_reports(std::uint32_t slot);

  crab_policy_load load(std::uint32_t slot) const;
  // For policies; as long as this table lives.
  const crab_policy_host& host() const { return host_; }

  bool reports(std::uint32_t slot) const;
  // Reported once, and then not for too long.
  bool is_silent(std::uint32_t slot, Time now) const;
  // Since the last report; nullopt without any.
  std::optional<Time> report_age(std::uint32_t slot, Time now) const;
  std::uint64_t closed_total(std::uint32_t slot) const;
  // Assignments written off as lost, and of those how many were accepted after all.
  std::uint64_t n_written_off(std::uint32_t slot) const;
  std::uint64_t n_late(std::uint32_t slot) const;

 private:
  struct Slot {
    // unconfirmed = assigned - confirmed, and confirmed = accepted_own + offset. The offset holds
    // what was written off, and the distance between our counting and the agent's boot.
    std::int64_t offset = 0;
    std::uint64_t n_reports = 0;
    std::uint64_t boot_id = 0;
    LoadSample::Counts counts;
    std::uint32_t open = 0;
    std::uint32_t source = CRAB_LOAD_ASSIGNED;
    Time reported_at{};
    Time interval{};
    // Assigned at a moment that lies back one expiry: by then it has been accepted, or is lost.
    Time sampled_at{};
    std::uint64_t sampled_assigned = 0;
    std::int64_t least_unconfirmed = 0;  // right after any report since then
    std::uint64_t n_written_off = 0;
    std::uint64_t n_late = 0;
  };
  const Slot& at(std::uint32_t slot) const;
  Slot& grow_to(std::uint32_t slot);
  std::int64_t unconfirmed(std::uint32_t slot, const Slot& state) const;
  // Sets the offset so that this much is unconfirmed.
  void set_unconfirmed(std::uint32_t slot, Slot& state, std::int64_t n) const;
  void write_off(std::uint32_t slot, Slot& state, Time now) const;

  const Settings settings_;
  const Assigned assigned_;
  std::vector<Slot> slots_;
  crab_policy_host host_;
};

}  // namespace crab
