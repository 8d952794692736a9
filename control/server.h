// SPDX-License-Identifier: Apache-2.0
// The control service of crab-lb as its main() sees it: desired state, gRPC, metrics. No gRPC type
// shows here.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>

#include "control/dataplane.h"
#include "crab/v1/config.pb.h"

namespace crab {

class ControlServer {
 public:
  // Preconditions: load_and_validate() (control/validate.h) found nothing wrong with config;
  // dataplane and io live longer than *this.
  ControlServer(const v1::Config& config, Dataplane& dataplane, boost::asio::io_context& io);
  ~ControlServer();
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Publishes the configured services, then listens. Call it while the workers run and before
  // io.run(): until then the caller's thread is the control strand. Throws std::runtime_error,
  // what() being one line for the operator, if a worker does not take the first snapshot, a socket
  // is in use or may not be made, or a policy refuses its backends. gRPC's threads inherit the
  // caller's CPU affinity.
  void start();

  // Ends every call, within two seconds; unanswered ones get UNAVAILABLE. Call it from the thread
  // that runs io, or after io.run() has returned; the destructor calls it if nobody has. Published
  // state stays as it is.
  void stop();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace crab
