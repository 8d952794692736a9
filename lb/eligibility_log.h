// SPDX-License-Identifier: Apache-2.0
// Says in the log how many backends of each service get connections, and which address gets none
// and why: a balancer that does not forward must not be silent about it. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "control/dataplane.h"

namespace crab {

class EligibilityLog {
 public:
  explicit EligibilityLog(boost::asio::io_context& io) : timer_(io) {}

  void published(const SnapshotSpec& spec);
  // These are all the backends' addresses: what was said of others is forgotten.
  void keep_only(const std::vector<IpAddress>& addresses);
  void next_hop_changed(const IpAddress& address, const NextHopState& state);

 private:
  using Endpoint = std::pair<IpAddress, std::uint16_t>;

  void report_later();
  void report();

  std::map<Endpoint, std::size_t> n_eligible_;  // as published last
  std::map<Endpoint, std::size_t> reported_;
  std::map<IpAddress, std::string> unreachable_;           // and why
  std::map<IpAddress, std::string> reported_unreachable_;  // and why
  bool waiting_ = false;
  boost::asio::steady_timer timer_;
};

}  // namespace crab
