// SPDX-License-Identifier: Apache-2.0
// Loads from the backends themselves: a stream of xds.service.orca.v3.OpenRcaService (out of band
// Open Request Cost Aggregation) to each backend of the services whose load signal it is. Control
// strand only; gRPC's threads hand over to it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/strand.hpp>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "control/report_counters.h"
#include "control/socket_address.h"
#include "control/view.h"
#include "lb/load_table.h"
#include "xds/data/orca/v3/orca_load_report.pb.h"

namespace crab {

// The metric as a load: a named metric as it is, a utilisation in per cent, both rounded. Empty if
// the report has no such metric, or no number that can be a load.
std::optional<std::uint32_t> orca_load(const xds::data::orca::v3::OrcaLoadReport& report,
                                       const std::string& metric);

class OrcaClient {
 public:
  using Strand = boost::asio::strand<boost::asio::io_context::executor_type>;
  using Report = std::function<void(std::uint32_t load_slot, const LoadSample& sample)>;
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  // `report` is called on the strand. The io_context of the strand outlives *this.
  OrcaClient(Strand strand, ReportCounters& counters, Report report);
  ~OrcaClient();  // as end()
  OrcaClient(const OrcaClient&) = delete;
  OrcaClient& operator=(const OrcaClient&) = delete;

  // Streams from exactly these backends from now on. One that ends, or says nothing for ten seconds
  // and ten intervals, is begun anew over a new connection: after 100 ms, then up to 5 s.
  void follow(const View& view);
  // Cancels all streams and waits for their end. Once the strand runs no more, or on it.
  void end();

 private:
  class Call;
  struct Target;
  struct Spec {
    SocketAddress at;
    OrcaSettings settings;

    bool operator==(const Spec&) const = default;
  };

  void begin(const std::shared_ptr<Target>& target);
  void stop(Target* target);
  void watch(const std::shared_ptr<Target>& target);
  void heard(const std::shared_ptr<Target>& target, const Call* call,
             const xds::data::orca::v3::OrcaLoadReport& report);
  void ended(const std::shared_ptr<Target>& target, const Call* call, const std::string& why);
  void call_is_gone();

  const Strand strand_;
  ReportCounters& counters_;
  const Report report_;
  std::map<std::uint32_t, std::shared_ptr<Target>> targets_;  // by load slot

  std::mutex mutex_;
  std::condition_variable all_gone_;
  std::size_t n_calls_ = 0;  // guarded by mutex_: between their start and OnDone
};

}  // namespace crab
