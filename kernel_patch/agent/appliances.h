// SPDX-License-Identifier: Apache-2.0
// The nodes that this host is attached to: what they say goes to the reporter and, merged, to the
// endpoint.
#pragma once

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "kernel_patch/agent/endpoint_config.h"
#include "kernel_patch/agent/load_reporter.h"
#include "kernel_patch/agent/node_stream.h"
#include "kernel_patch/agent/shared_map.h"
#include "kernel_patch/agent/unique_fd.h"

namespace crab {

// What the response says about reports; nothing if the node takes none. Throws AgentError that
// names the field which is wrong.
std::optional<SessionTerms> session_terms_of(const v1::AttachResponse& response);

class Appliances {
 public:
  // agent: the host's name in the fleet. reporter may be null, for a host without backends; it
  // outlives this. Throws AgentError.
  Appliances(const std::vector<std::string>& servers, const TlsClientOptions& tls,
             const std::string& agent, const SharedMap<crab_session>& statuses,
             LoadReporter* reporter);
  // Ends all streams; the reporter's sessions stay, it says goodbye to them.
  ~Appliances();

  // Readable once there is something for take_config().
  int fd() const { return changed_fd_.get(); }
  // What all nodes say together, if it is new.
  std::optional<EndpointConfig> take_config();

  // Reads the host's addresses, and attaches anew if they are others.
  void follow_addresses();
  // For `crab-agent status`, which otherwise takes the agent for dead.
  void show_presence() const;

 private:
  void on_response(std::size_t appliance, const v1::AttachResponse& response);
  void on_end(std::size_t appliance, const std::string& why);
  v1::AttachRequest request() const;

  const std::vector<std::string> servers_;
  const std::string agent_;
  const SharedMap<crab_session>& statuses_;
  LoadReporter* const reporter_;
  UniqueFd changed_fd_;
  std::vector<IpAddress> addresses_;

  std::mutex mutex_;
  // What each said last; a node that is away still counts.
  std::vector<std::optional<EndpointConfig>> configs_;  // mutex_

  std::vector<std::unique_ptr<NodeStream>> streams_;  // last: their threads use what is above
};

}  // namespace crab
