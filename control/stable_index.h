// SPDX-License-Identifier: Apache-2.0
// Small integers for things that workers count by: service ids and load slots. An index stays with
// its key while anything holds it, and for a quarantine afterwards goes to nobody else: an older
// snapshot or the recent-SYN table may still name it. The same key gets it back at once.
// Control strand only; handles may be dropped by any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace crab {

inline constexpr std::chrono::seconds kIndexQuarantine{60};

template <typename Key>
class StableIndexPool : public std::enable_shared_from_this<StableIndexPool<Key>> {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  using Handle = std::shared_ptr<const std::uint32_t>;  // dropped: the index is given up

  static std::shared_ptr<StableIndexPool> make(std::uint32_t limit, Clock now) {
    return std::shared_ptr<StableIndexPool>(new StableIndexPool(limit, std::move(now)));
  }

  struct Acquired {
    Handle handle;      // empty: all indices are taken or in quarantine
    bool fresh = true;  // the index has had another key, or none, until now
  };
  Acquired acquire(const Key& key) {
    std::scoped_lock lock(mutex_);
    auto [held, absent] = held_.try_emplace(key);
    if (!absent) {
      if (auto handle = held->second.handle.lock()) return {std::move(handle), false};
      // Quarantined, or about to be by a deleter that waits for the lock.
      return {adopt(held, held->second.index), false};
    }
    const auto index = free_index();
    if (!index) {
      held_.erase(held);
      return {};
    }
    return {adopt(held, *index), true};
  }

 private:
  struct Held {
    std::uint32_t index = 0;
    std::uint64_t n_adopted = 0;  // tells a deleter that its index has been taken up again
    std::weak_ptr<const std::uint32_t> handle;
  };
  struct Quarantined {
    std::chrono::steady_clock::time_point until;
    Key key;
    std::uint64_t n_adopted;
  };
  using HeldIterator = typename std::map<Key, Held>::iterator;

  StableIndexPool(std::uint32_t limit, Clock now) : limit_(limit), now_(std::move(now)) {}

  Handle adopt(HeldIterator held, std::uint32_t index) {
    held->second.index = index;
    const auto n_adopted = ++n_adopted_;
    held->second.n_adopted = n_adopted;
    Handle handle(new std::uint32_t(index), [pool = this->weak_from_this(), key = held->first,
                                             n_adopted](const std::uint32_t* p) {
      delete p;
      if (auto alive = pool.lock()) alive->quarantine(key, n_adopted);
    });
    held->second.handle = handle;
    return handle;
  }

  void quarantine(const Key& key, std::uint64_t n_adopted) {
    std::scoped_lock lock(mutex_);
    quarantine_.push_back({now_() + kIndexQuarantine, key, n_adopted});
  }

  std::optional<std::uint32_t> free_index() {
    while (!quarantine_.empty() && quarantine_.front().until <= now_()) {
      const auto held = held_.find(quarantine_.front().key);
      if (held != held_.end() && held->second.n_adopted == quarantine_.front().n_adopted) {
        free_.push_back(held->second.index);
        held_.erase(held);
      }
      quarantine_.pop_front();
    }
    if (!free_.empty()) {
      const auto index = free_.front();
      free_.pop_front();
      return index;
    }
    if (next_ < limit_) return next_++;
    return std::nullopt;
  }

  const std::uint32_t limit_;
  const Clock now_;
  std::mutex mutex_;  // everything below
  std::map<Key, Held> held_;
  std::deque<Quarantined> quarantine_;  // in the order of `until`
  std::deque<std::uint32_t> free_;
  std::uint32_t next_ = 0;  // indices from here on have never been used
  std::uint64_t n_adopted_ = 0;
};

}  // namespace crab
