// SPDX-License-Identifier: Apache-2.0
#include "control/watch_hub.h"

#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "control/convert.h"
#include "control/errors.h"
#include "control/pending_calls.h"
#include "control/watch_stream.h"

namespace crab {
namespace {

std::string make_instance() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}", random(), random());
}

template <typename Map>
auto find_or_null(const Map& map, const std::string& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : found->second;
}

}  // namespace

WatchHub::WatchHub(std::shared_ptr<Manager> manager)
    : manager_(std::move(manager)), instance_(make_instance()), before_(manager_->view()) {}

WatchHub::~WatchHub() = default;

grpc::ServerWriteReactor<v1::WatchBackendsResponse>* WatchHub::watch(
    const v1::WatchBackendsRequest& request) {
  const auto stream = std::make_shared<WatchStream>(*this, request.service());
  std::optional<Failure> failure;
  {
    const std::scoped_lock lock(mutex_);
    manager_->counters().n_watch_streams += 1;
    if (ended_) {
      failure = shutting_down();
    } else if (streams_.size() >= kMaxStreams) {
      failure = Failure{FailureCode::ResourceExhausted, "WATCH_LIMIT", "256 watch", {}, {}};
    }
    streams_.insert(stream);
  }
  if (!failure && !request.service().empty()) {
    if (auto errors = validate_service_name(request.service(), "service"); !errors.empty()) {
      failure = invalid_fields(std::move(errors));
    }
  }
  if (failure) {
    stream->finish(to_status(*failure));
  } else {
    boost::asio::post(manager_->strand(), [this, stream, request] { attach(stream, request); });
  }
  return stream.get();
}

void WatchHub::attach(const std::shared_ptr<WatchStream>& stream,
                      const v1::WatchBackendsRequest& request) {
  if (stream->left) return;
  if (!request.service().empty() && before_->find(request.service()) == nullptr) {
    return stream->finish(to_status(service_not_found(request.service())));
  }
  attached_.insert(stream);
  const std::uint64_t from = request.resume_revision();
  const bool resumes =
      request.resume_instance() == instance_ && from >= complete_from_ && from <= before_->revision;
  if (!resumes) return stream->begin(before_, before_->revision, instance_);
  stream->begin(nullptr, from, instance_);
  // Those of that revision again: the stream may have ended amidst them.
  for (const Event& event : history_) {
    if (event.revision >= from) stream->add(event);
  }
}

void WatchHub::published() {
  const auto next = manager_->view();
  for (const auto& [name, service] : before_->services) {
    if (next->find(name) != nullptr) continue;
    for (const auto& [id, backend] : service->backends) {
      add(next->revision, name, to_event_message(*before_, *service, id, backend), true);
    }
  }
  for (const auto& [name, service] : next->services) compare(*next, name);
  before_ = next;
}

void WatchHub::compare(const View& next, const std::string& name) {
  const View& before = *before_;
  const ServiceRecord* old = before.find(name);
  const ServiceRecord& now = *next.find(name);
  const auto ramps_of = [&name](const View& view) {
    const auto found = view.ramps.find(name);
    return found == view.ramps.end() ? nullptr : &found->second;
  };
  const auto* old_ramps = ramps_of(before);
  const auto* new_ramps = ramps_of(next);
  const bool same_ramps = (old_ramps == nullptr) == (new_ramps == nullptr) &&
                          (old_ramps == nullptr || *old_ramps == *new_ramps);
  if (old == &now && same_ramps &&
      find_or_null(before.statuses, name) == find_or_null(next.statuses, name) &&
      before.below_minimum.contains(name) == next.below_minimum.contains(name)) {
    return;
  }
  for (const auto& [id, backend] : now.backends) {
    const BackendRecord* known = nullptr;
    if (old != nullptr) {
      const auto found = old->backends.find(id);
      if (found != old->backends.end()) known = &found->second;
    }
    const bool same = known != nullptr && known->version == backend.version &&
                      before.status_of(*old, id) == next.status_of(now, id) &&
                      before.is_eligible(*old, *known) == next.is_eligible(now, backend) &&
                      before.tenths_of_weight(*old, *known) == next.tenths_of_weight(now, backend);
    if (!same) add(next.revision, name, to_event_message(next, now, id, backend), false);
  }
  if (old == nullptr) return;
  for (const auto& [id, backend] : old->backends) {
    if (now.backends.contains(id)) continue;
    add(next.revision, name, to_event_message(before, *old, id, backend), true);
  }
}

void WatchHub::add(std::uint64_t revision, const std::string& service, const v1::Backend& backend,
                   bool removed) {
  auto message = std::make_shared<v1::WatchBackendsResponse>();
  message->set_revision(revision);
  auto* event = removed ? message->mutable_removed() : message->mutable_changed();
  event->set_service(service);
  *event->mutable_backend() = backend;
  history_.push_back({revision, {service, backend.id()}, std::move(message)});
  if (history_.size() > kMaxHistory) {
    complete_from_ = history_.front().revision + 1;
    history_.pop_front();
  }
  for (const auto& stream : attached_) stream->add(history_.back());
}

void WatchHub::end() {
  std::vector<std::shared_ptr<WatchStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    streams.assign(streams_.begin(), streams_.end());
  }
  for (const auto& stream : streams) stream->finish(to_status(shutting_down()));
}

}  // namespace crab
