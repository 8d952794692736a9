// SPDX-License-Identifier: Apache-2.0
// Sends load reports: one thread that the kernel wakes when connections close, with a session for
// each node that is attached to. Decides which backends are watched.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernel_patch/agent/accepted_nodes.h"
#include "kernel_patch/agent/load_audit.h"
#include "kernel_patch/agent/load_counting.h"
#include "kernel_patch/agent/report_session.h"

struct ring_buffer;

namespace crab {

class LoadReporter {
 public:
  // own: backends that are watched whether or not a node wants to know; audited on return.
  // sessions is where each appliance's state is shown. nodes, which counts by node with an endpoint
  // in the kernel, may be null; it outlives this, and only this may use it. Throws AgentError.
  LoadReporter(const LoadCounting& counting, const SharedMap<crab_session>& sessions,
               AcceptedNodes* nodes, std::vector<SocketAddress> own);
  ~LoadReporter() { finish(); }

  // Says goodbye to every node; on return it has left this host. Nothing is sent afterwards.
  void finish();

  // From any thread; they take effect in the reporter's, in order.
  void set_own(std::vector<SocketAddress> own);
  void begin(std::size_t appliance, SessionTerms terms);  // or goes on with other terms
  void end(std::size_t appliance);

  // In the calling thread, beside the reports. Throws AgentError.
  void audit();

 private:
  void post(std::function<void()> command);
  void run(const std::stop_token& stop);
  void run_posted();
  void wait() const;
  void apply(std::size_t appliance, SessionTerms terms);
  void watch();
  void refresh_nodes();
  static int on_event(void* self, void* data, std::size_t size);

  const LoadCounting& counting_;
  const SharedMap<crab_session>& statuses_;
  LoadAudit audit_;
  std::unique_ptr<ring_buffer, void (*)(ring_buffer*)> events_;
  UniqueFd wake_;

  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;  // mutex_

  // The reporter's thread alone, once it runs.
  AcceptedNodes* const nodes_;
  bool is_node_blind_ = false;  // the last refresh failed
  std::vector<SocketAddress> own_;
  std::map<std::size_t, ReportSession> sessions_;

  std::jthread thread_;  // last: it uses what is above
};

}  // namespace crab
