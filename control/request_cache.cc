// SPDX-License-Identifier: Apache-2.0
#include "control/request_cache.h"

#include <utility>

namespace crab {

RequestCache::Seen RequestCache::begin(const std::string& id, const std::string& request,
                                       Deliver deliver) {
  std::string answer;
  {
    const std::scoped_lock lock(mutex_);
    forget_old();
    const auto [at, fresh] = entries_.try_emplace(id);
    Entry& entry = at->second;
    if (fresh) {
      entry.request = request;
      return Seen::Never;
    }
    if (entry.request != request) return Seen::Otherwise;
    if (!entry.is_done) {
      entry.waiting.push_back(std::move(deliver));
      return Seen::Alike;
    }
    answer = entry.answer;
  }
  deliver(grpc::Status::OK, answer);
  return Seen::Alike;
}

void RequestCache::finish(const std::string& id, const grpc::Status& status,
                          const std::string& answer) {
  std::vector<Deliver> waiting;
  {
    const std::scoped_lock lock(mutex_);
    const auto at = entries_.find(id);
    if (at == entries_.end() || at->second.is_done) return;
    Entry& entry = at->second;
    waiting = std::exchange(entry.waiting, {});
    if (status.ok()) {
      entry.answer = answer;
      entry.is_done = true;
      entry.done_at = now_();
      entry.in_order = done_.insert(done_.end(), id);
      n_bytes_ += entry.request.size() + entry.answer.size();
      forget_old();
    } else {
      entries_.erase(at);
    }
  }
  for (const auto& deliver : waiting) deliver(status, answer);
}

void RequestCache::forget_old() {
  while (!done_.empty()) {
    const auto oldest = entries_.find(done_.front());
    const Entry& entry = oldest->second;
    const bool keep = done_.size() <= limits_.n_requests && n_bytes_ <= limits_.n_bytes &&
                      now_() - entry.done_at <= limits_.age;
    if (keep) return;
    n_bytes_ -= entry.request.size() + entry.answer.size();
    entries_.erase(oldest);
    done_.pop_front();
  }
}

}  // namespace crab
