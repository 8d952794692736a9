// SPDX-License-Identifier: Apache-2.0
// LeaseService.
#include <utility>

#include "control/change_call.h"
#include "control/service.h"

namespace crab {
namespace {

v1::Lease to_message(const DesiredState& state, const std::set<std::string>& frozen,
                     const LeaseRecord& lease) {
  v1::Lease message = to_message(lease);
  if (frozen.empty() || lease.expired || !lease.until.has_passed(state.clocks())) return message;
  message.set_frozen(true);
  return message;
}

}  // namespace

// One call: a request is read, done, answered, and then the next one is read.
class KeepAliveStream final
    : public grpc::ServerBidiReactor<v1::KeepAliveRequest, v1::KeepAliveResponse>,
      public std::enable_shared_from_this<KeepAliveStream> {
 public:
  explicit KeepAliveStream(LeaseServiceImpl& service) : service_(service) {}

  void begin() { StartRead(&request_); }
  void finish(const grpc::Status& status) {
    const std::scoped_lock lock(mutex_);
    if (std::exchange(finishing_, true)) return;
    status_ = status;
    if (!writing_) Finish(status_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return finish(grpc::Status::OK);  // the client has said all
    const std::string id = request_.lease_id();
    service_.context_->manager->keep_alive(
        id, [self = shared_from_this(), id](const LeaseRecord* lease) {
          v1::KeepAliveResponse response;
          response.set_lease_id(id);
          response.set_gone(lease == nullptr);
          if (lease != nullptr) *response.mutable_lease() = to_message(*lease);
          self->write(std::move(response));
        });
  }
  void OnWriteDone(bool ok) override {
    {
      const std::scoped_lock lock(mutex_);
      writing_ = false;
      if (!ok && !std::exchange(finishing_, true)) status_ = grpc::Status::CANCELLED;
      if (finishing_) return Finish(status_);
    }
    StartRead(&request_);
  }
  void OnCancel() override { finish(grpc::Status::CANCELLED); }
  void OnDone() override {
    const auto self = shared_from_this();  // until the end of this function
    const std::scoped_lock lock(service_.mutex_);
    service_.streams_.erase(self);
  }

 private:
  void write(v1::KeepAliveResponse response) {
    const std::scoped_lock lock(mutex_);
    if (finishing_) return;
    response_ = std::move(response);
    writing_ = true;
    StartWrite(&response_);
  }

  LeaseServiceImpl& service_;
  v1::KeepAliveRequest request_;  // gRPC's while it reads
  std::mutex mutex_;              // everything below
  v1::KeepAliveResponse response_;
  bool writing_ = false;
  bool finishing_ = false;
  grpc::Status status_;
};

grpc::ServerUnaryReactor* LeaseServiceImpl::GrantLease(grpc::CallbackServerContext* rpc,
                                                       const v1::GrantLeaseRequest* request,
                                                       v1::GrantLeaseResponse* response) {
  auto change = [request = *request](DesiredState& state, ChangeEffect* effect) {
    return state.grant_lease(request.lease(), effect);
  };
  return answer_change(
      *context_, rpc, *request, response, change,
      [request = *request](const Manager::Reply& reply, v1::GrantLeaseResponse* answer) {
        LeaseRecord lease = to_record(request.lease());
        lease.id = reply.effect.lease;
        lease.until.wall = std::chrono::system_clock::now() + lease.ttl;
        *answer->mutable_lease() = to_message(lease);
        answer->set_revision(reply.revision);
      });
}

grpc::ServerBidiReactor<v1::KeepAliveRequest, v1::KeepAliveResponse>* LeaseServiceImpl::KeepAlive(
    grpc::CallbackServerContext*) {
  const auto stream = std::make_shared<KeepAliveStream>(*this);
  bool ended = false;
  {
    const std::scoped_lock lock(mutex_);
    streams_.insert(stream);
    ended = ended_;
  }
  if (ended) {
    stream->finish(to_status(shutting_down()));
  } else {
    stream->begin();
  }
  return stream.get();
}

grpc::ServerUnaryReactor* LeaseServiceImpl::RevokeLease(grpc::CallbackServerContext* rpc,
                                                        const v1::RevokeLeaseRequest* request,
                                                        v1::RevokeLeaseResponse* response) {
  auto change = [id = request->lease_id()](DesiredState& state, ChangeEffect* effect) {
    return state.revoke_lease(id, effect);
  };
  return answer_change(*context_, rpc, *request, response, change,
                       [](const Manager::Reply& reply, v1::RevokeLeaseResponse* answer) {
                         answer->set_revision(reply.revision);
                       });
}

grpc::ServerUnaryReactor* LeaseServiceImpl::ListLeases(grpc::CallbackServerContext* rpc,
                                                       const v1::ListLeasesRequest* request,
                                                       v1::ListLeasesResponse* response) {
  if (!request->page_token().empty() &&
      !validate_backend_id(request->page_token(), "page_token").empty()) {
    return answer_now(
        rpc, to_status(invalid_fields({{"page_token", "is none that ListLeases has returned"}})));
  }
  auto* reactor = rpc->DefaultReactor();
  const auto call = context_->calls.add(reactor);
  if (!call) return reactor;
  context_->manager->with_state([context = context_, call, response,
                                 request = *request](const DesiredState& state) {
    context->calls.answer(call, grpc::Status::OK, [&] {
      const auto& leases = state.leases();
      const auto frozen = context->manager->view()->frozen;
      auto at =
          request.page_token().empty() ? leases.begin() : leases.upper_bound(request.page_token());
      for (std::size_t n = 0; n < page_size(request.page_size()) && at != leases.end(); ++n, ++at) {
        *response->add_leases() = to_message(state, frozen, at->second);
      }
      if (at != leases.end()) {
        response->set_next_page_token(response->leases(response->leases_size() - 1).id());
      }
    });
  });
  return reactor;
}

void LeaseServiceImpl::end() {
  std::vector<std::shared_ptr<KeepAliveStream>> streams;
  {
    const std::scoped_lock lock(mutex_);
    ended_ = true;
    streams.assign(streams_.begin(), streams_.end());
  }
  for (const auto& stream : streams) stream->finish(to_status(shutting_down()));
}

}  // namespace crab
