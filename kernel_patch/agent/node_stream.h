// SPDX-License-Identifier: Apache-2.0
// An agent's attachment to one node (AgentService.Attach): kept up for as long as this lives, by a
// thread of its own that attaches again whenever the stream ends.
#pragma once

#include <grpcpp/client_context.h>

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "control/identity/server_options.h"
#include "crab/v1/agent.grpc.pb.h"

namespace crab {

// Called by the stream's thread.
struct NodeHandlers {
  std::function<void(const v1::AttachResponse&)> on_response;
  std::function<void(const std::string& why)> on_end;
};

class NodeStream {
 public:
  // server as crabctl takes it: "unix:/run/crab/control.sock", "tcp:10.0.0.2:7470". Certificates
  // are read anew for each stream.
  NodeStream(const std::string& server, TlsClientOptions tls, v1::AttachRequest request,
             NodeHandlers handlers);
  // Ends the stream; no handler is called afterwards.
  ~NodeStream();

  // Attaches anew with another request, at once.
  void set_request(v1::AttachRequest request);

 private:
  void run();
  // One stream, from the request to its end; whether the node answered, and why it ended.
  std::pair<bool, std::string> follow(const std::shared_ptr<grpc::ClientContext>& context,
                                      const v1::AttachRequest& request);

  // What the end of a stream that was answered, or never was, means to people.
  std::string why_ended(const grpc::Status& status, bool answered);

  const std::string server_;
  const TlsClientOptions tls_;
  // Its thread's: when the reason was last looked for, which is a connection of its own, and what
  // was found.
  std::chrono::steady_clock::time_point looked_;
  std::string found_;
  const NodeHandlers handlers_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;                         // mutex_
  bool is_renewed_ = false;                       // mutex_: request_ has not been sent yet
  v1::AttachRequest request_;                     // mutex_
  std::shared_ptr<grpc::ClientContext> context_;  // mutex_: of the stream that is up

  std::jthread thread_;
};

}  // namespace crab
