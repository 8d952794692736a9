// SPDX-License-Identifier: Apache-2.0
#include "control/watch_stream.h"

#include <boost/asio/post.hpp>
#include <utility>

#include "control/convert.h"
#include "control/errors.h"

namespace crab {

void WatchStream::begin(std::shared_ptr<const View> snapshot, std::uint64_t revision,
                        const std::string& instance) {
  const std::scoped_lock lock(mutex_);
  if (finishing_) return;
  marker_.emplace();
  marker_->set_revision(revision);
  marker_->mutable_marker()->set_resumed(snapshot == nullptr);
  marker_->mutable_marker()->set_instance(instance);
  snapshot_ = std::move(snapshot);
  if (!writing_) write_next();
}

void WatchStream::add(const WatchHub::Event& event) {
  if (!service_.empty() && event.of.first != service_) return;
  bool slow = false;
  {
    const std::scoped_lock lock(mutex_);
    if (finishing_) return;
    const auto before = place_.find(event.of);
    if (before != place_.end()) {
      pending_.erase(before->second);
      place_.erase(before);
    }
    place_[event.of] = pending_.insert(pending_.end(), event);
    slow = pending_.size() > WatchHub::kMaxPending;
    if (!slow && !writing_) write_next();
  }
  if (!slow) return;
  hub_.manager_->counters().n_slow_watchers += 1;
  finish(to_status({FailureCode::ResourceExhausted,
                    "SLOW_CONSUMER",
                    "changes of more than 10000 backends wait to be read; watch again",
                    {},
                    {},
                    std::chrono::seconds(1)}));
}

void WatchStream::finish(const grpc::Status& status) {
  const std::scoped_lock lock(mutex_);
  if (std::exchange(finishing_, true)) return;
  snapshot_.reset();
  pending_.clear();
  place_.clear();
  status_ = status;
  // A write that the client does not take in never ends by itself.
  if (!writing_) Finish(status_);
}

void WatchStream::write_next() {
  if (snapshot_ != nullptr && take_existing()) {
  } else if (marker_) {
    on_wire_ = std::make_shared<const v1::WatchBackendsResponse>(std::move(*marker_));
    marker_.reset();
  } else if (!pending_.empty()) {
    on_wire_ = pending_.front().message;
    place_.erase(pending_.front().of);
    pending_.pop_front();
  } else {
    return;
  }
  writing_ = true;
  StartWrite(on_wire_.get());
}

// The snapshot is sent as it is asked for, and costs nothing while it waits.
bool WatchStream::take_existing() {
  const auto& services = snapshot_->services;
  auto service = service_.empty() ? services.lower_bound(next_.first) : services.find(service_);
  while (service != services.end()) {
    const auto& backends = service->second->backends;
    const auto backend =
        service->first == next_.first ? backends.upper_bound(next_.second) : backends.begin();
    if (backend != backends.end()) {
      auto message = std::make_shared<v1::WatchBackendsResponse>();
      message->set_revision(snapshot_->revision);
      message->mutable_existing()->set_service(service->first);
      *message->mutable_existing()->mutable_backend() =
          to_event_message(*snapshot_, *service->second, backend->first, backend->second);
      on_wire_ = std::move(message);
      next_ = {service->first, backend->first};
      return true;
    }
    if (!service_.empty()) break;
    ++service;
  }
  snapshot_.reset();
  return false;
}

void WatchStream::OnWriteDone(bool ok) {
  const std::scoped_lock lock(mutex_);
  writing_ = false;
  if (!ok && !std::exchange(finishing_, true)) status_ = grpc::Status::CANCELLED;
  if (finishing_) return Finish(status_);
  write_next();
}

void WatchStream::OnCancel() { finish(grpc::Status::CANCELLED); }

void WatchStream::OnDone() {
  const auto self = shared_from_this();  // until the end of this function
  hub_.manager_->counters().n_watch_streams -= 1;
  boost::asio::post(hub_.manager_->strand(), [self, &hub = hub_] {
    self->left = true;
    hub.attached_.erase(self);
  });
  const std::scoped_lock lock(hub_.mutex_);
  hub_.streams_.erase(self);
}

}  // namespace crab
