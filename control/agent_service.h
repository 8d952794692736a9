// SPDX-License-Identifier: Apache-2.0
// AgentService.Attach: one stream for each agent, on which it is told all it needs, at once and
// whenever that changes. Handlers run on gRPC's threads; what agents are told is made on the
// manager's strand.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "control/agent_sessions.h"
#include "control/manager.h"
#include "control/socket_address.h"
#include "crab/v1/agent.grpc.pb.h"
#include "crab/v1/config.pb.h"

namespace crab {

class AttachStream;

class AgentServiceImpl final : public v1::AgentService::CallbackService {
 public:
  // `config` has its defaults; agents are told to report to `report_addresses`.
  AgentServiceImpl(std::shared_ptr<Manager> manager, AgentSessions& sessions,
                   const v1::Config& config, std::vector<SocketAddress> report_addresses);

  grpc::ServerWriteReactor<v1::AttachResponse>* Attach(grpc::CallbackServerContext* rpc,
                                                       const v1::AttachRequest* request) override;

  // Strand: tells each agent what has changed for it.
  void published(const View& view);
  // Ends all streams, and every later one at once, with UNAVAILABLE. Once the strand runs no more.
  void end();

 private:
  friend class AttachStream;
  struct Attached {
    std::shared_ptr<AttachStream> stream;
    v1::AttachResponse fixed;  // what never changes in a session
    // What the agent was told last, besides.
    std::uint64_t services_version = 0;
    std::uint32_t heartbeat_us = 0;
    std::vector<Endpoint> backends;
  };

  // Strand.
  void attach(const std::shared_ptr<AttachStream>& stream);
  void detach(std::uint64_t session, const std::shared_ptr<AttachStream>& stream);
  void tell(Attached* attached) const;
  void take_services(const View& view);
  std::vector<Endpoint> backends_at(const std::vector<IpAddress>& addresses) const;
  std::uint32_t heartbeat_us() const;
  std::string report_address(const std::vector<IpAddress>& addresses) const;

  const std::shared_ptr<Manager> manager_;
  AgentSessions& sessions_;
  const v1::Config config_;
  const std::vector<SocketAddress> report_addresses_;

  // Strand only.
  std::unordered_map<std::uint64_t, Attached> attached_;       // by session
  std::unordered_map<std::string, std::uint64_t> session_of_;  // by agent's name
  std::uint32_t told_heartbeat_us_ = 0;
  v1::AttachResponse services_;  // only these, as agents are told
  std::uint64_t services_version_ = 1;
  std::unordered_map<IpAddress, std::vector<std::uint16_t>> ports_at_;  // of backends, sorted

  std::mutex mutex_;
  bool ended_ = false;                                         // guarded by mutex_
  std::unordered_set<std::shared_ptr<AttachStream>> streams_;  // guarded by mutex_: all alive
};

}  // namespace crab
