// SPDX-License-Identifier: Apache-2.0
#include "control/orca_client.h"

#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/bind_executor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cmath>
#include <limits>
#include <utility>

#include "xds/service/orca/v3/orca.grpc.pb.h"

namespace crab {
namespace {

using xds::data::orca::v3::OrcaLoadReport;
using xds::service::orca::v3::OpenRcaService;

constexpr std::chrono::milliseconds kFirstBackoff{100};
constexpr std::chrono::milliseconds kLongestBackoff{5'000};
constexpr std::chrono::milliseconds kLeastWatch{10'000};
constexpr int kWatchIntervals = 10;
constexpr double kPerCent = 100;

std::shared_ptr<grpc::Channel> connect(const SocketAddress& at) {
  grpc::ChannelArguments arguments;
  // A connection of its own, not the one that has just fallen silent.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  const std::string scheme = at.address.is_v4() ? "ipv4:" : "ipv6:";
  return grpc::CreateCustomChannel(scheme + at.to_string(), grpc::InsecureChannelCredentials(),
                                   arguments);
}

void count(std::atomic<std::uint64_t>& counter) {
  counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
}

}  // namespace

std::optional<std::uint32_t> orca_load(const OrcaLoadReport& report, const std::string& metric) {
  double value = 0;
  if (metric == "cpu_utilization") {
    value = report.cpu_utilization() * kPerCent;
  } else if (metric == "application_utilization") {
    value = report.application_utilization() * kPerCent;
  } else if (const auto named = report.named_metrics().find(metric);
             named != report.named_metrics().end()) {
    value = named->second;
  } else if (const auto part = report.utilization().find(metric);
             part != report.utilization().end()) {
    value = part->second * kPerCent;
  } else {
    return std::nullopt;
  }
  if (!(value >= 0) || value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return static_cast<std::uint32_t>(std::lround(value));
}

// A backend to be asked. Strand only.
struct OrcaClient::Target {
  Target(const Strand& strand, std::uint32_t load_slot, Spec of)
      : slot(load_slot), spec(std::move(of)), timer(strand) {}

  const std::uint32_t slot;
  const Spec spec;
  boost::asio::steady_timer timer;  // until the next attempt, or until a stream counts as dead
  std::chrono::milliseconds backoff = kFirstBackoff;
  Call* call = nullptr;  // alive until ended() has been called for it
  bool stopped = false;
  bool complained = false;
};

// One attempt. Deletes itself after OnDone.
class OrcaClient::Call final : public grpc::ClientReadReactor<OrcaLoadReport> {
 public:
  Call(OrcaClient& client, std::shared_ptr<Target> target)
      : client_(client),
        target_(std::move(target)),
        stub_(OpenRcaService::NewStub(connect(target_->spec.at))) {
    const auto interval = target_->spec.settings.interval;
    auto* asked = request_.mutable_report_interval();
    asked->set_seconds(std::chrono::duration_cast<std::chrono::seconds>(interval).count());
    asked->set_nanos(static_cast<std::int32_t>(
        std::chrono::nanoseconds(interval % std::chrono::seconds(1)).count()));
  }
  void start() {
    stub_->async()->StreamCoreMetrics(&context_, &request_, this);
    StartRead(&report_);
    StartCall();
  }
  void cancel() { context_.TryCancel(); }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    boost::asio::post(client_.strand_, [&client = client_, target = target_, call = this,
                                        report = report_] { client.heard(target, call, report); });
    StartRead(&report_);
  }
  void OnDone(const grpc::Status& status) override {
    boost::asio::post(client_.strand_,
                      [&client = client_, target = target_, call = this,
                       why = status.error_message()] { client.ended(target, call, why); });
    OrcaClient& client = client_;
    // On the strand, because cancel() may be on its way there.
    boost::asio::post(client_.strand_, [self = std::unique_ptr<Call>(this)] {});
    client.call_is_gone();
  }

 private:
  OrcaClient& client_;
  const std::shared_ptr<Target> target_;
  const std::unique_ptr<OpenRcaService::Stub> stub_;
  grpc::ClientContext context_;
  xds::service::orca::v3::OrcaLoadReportRequest request_;
  OrcaLoadReport report_;
};

OrcaClient::OrcaClient(Strand strand, ReportCounters& counters, Report report)
    : strand_(std::move(strand)), counters_(counters), report_(std::move(report)) {}

OrcaClient::~OrcaClient() { end(); }

void OrcaClient::follow(const View& view) {
  std::map<std::uint32_t, Spec> wanted;
  for (const auto& [name, service] : view.services) {
    const auto& orca = service->definition.orca;
    if (!orca) continue;
    for (const auto& [id, backend] : service->backends) {
      const std::uint16_t port = orca->port != 0 ? orca->port : backend.definition.port;
      wanted[*backend.load_slot] = {{backend.definition.address, port}, *orca};
    }
  }
  std::erase_if(targets_, [&](const auto& known) {
    const auto found = wanted.find(known.first);
    const bool stays = found != wanted.end() && found->second == known.second->spec;
    if (!stays) stop(known.second.get());
    return !stays;
  });
  for (const auto& [slot, spec] : wanted) {
    if (targets_.contains(slot)) continue;
    const auto target = std::make_shared<Target>(strand_, slot, spec);
    targets_[slot] = target;
    begin(target);
  }
}

void OrcaClient::stop(Target* target) {
  target->stopped = true;
  target->timer.cancel();
  if (target->call != nullptr) target->call->cancel();
}

void OrcaClient::begin(const std::shared_ptr<Target>& target) {
  {
    const std::scoped_lock lock(mutex_);
    ++n_calls_;
  }
  target->call = new Call(*this, target);
  target->call->start();
  watch(target);
}

// Ends the stream unless something is heard before.
void OrcaClient::watch(const std::shared_ptr<Target>& target) {
  target->timer.expires_after(
      std::max(kLeastWatch, target->spec.settings.interval * kWatchIntervals));
  target->timer.async_wait([target](const boost::system::error_code& error) {
    if (!error && target->call != nullptr) target->call->cancel();
  });
}

void OrcaClient::heard(const std::shared_ptr<Target>& target, const Call* call,
                       const OrcaLoadReport& report) {
  if (target->stopped || target->call != call) return;
  const OrcaSettings& settings = target->spec.settings;
  const auto load = orca_load(report, settings.metric);
  target->backoff = kFirstBackoff;
  watch(target);
  if (!load) {
    count(counters_.n_orca_unusable);
    if (!std::exchange(target->complained, true)) {
      spdlog::warn("ORCA reports of {} have no usable metric '{}'", target->spec.at.to_string(),
                   settings.metric);
    }
    return;
  }
  target->complained = false;
  count(counters_.n_orca_reports);
  LoadSample sample;
  sample.open = *load;
  sample.interval = settings.interval;
  report_(target->slot, sample);
}

void OrcaClient::ended(const std::shared_ptr<Target>& target, const Call* call,
                       const std::string& why) {
  if (target->call != call) return;
  target->call = nullptr;
  if (target->stopped) return;
  count(counters_.n_orca_ended);
  if (!std::exchange(target->complained, true)) {
    spdlog::warn("ORCA stream of {} ended, to be begun anew: {}", target->spec.at.to_string(), why);
  }
  target->timer.expires_after(target->backoff);
  target->backoff = std::min(2 * target->backoff, kLongestBackoff);
  target->timer.async_wait([this, target](const boost::system::error_code& error) {
    if (!error && !target->stopped && target->call == nullptr) begin(target);
  });
}

void OrcaClient::call_is_gone() {
  const std::scoped_lock lock(mutex_);
  if (--n_calls_ == 0) all_gone_.notify_all();
}

void OrcaClient::end() {
  for (const auto& [slot, target] : targets_) stop(target.get());
  targets_.clear();
  std::unique_lock lock(mutex_);
  all_gone_.wait(lock, [this] { return n_calls_ == 0; });
}

}  // namespace crab
