// SPDX-License-Identifier: Apache-2.0
// BackendService.WatchBackends: makes the changes of what is published into events, keeps the
// newest of them for those who come back, and writes them to the streams. Events are made on the
// manager's strand, streams written on gRPC's threads.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_set>
#include <utility>

#include "control/manager.h"
#include "crab/v1/control.pb.h"

namespace crab {

class WatchStream;

class WatchHub {
 public:
  static constexpr std::size_t kMaxHistory = 10'000;  // events
  static constexpr std::size_t kMaxPending = 10'000;  // backends whose changes a stream is to get
  static constexpr std::size_t kMaxStreams = 256;

  explicit WatchHub(std::shared_ptr<Manager> manager);
  ~WatchHub();
  WatchHub(const WatchHub&) = delete;
  WatchHub& operator=(const WatchHub&) = delete;

  // The reactor owns itself.
  grpc::ServerWriteReactor<v1::WatchBackendsResponse>* watch(
      const v1::WatchBackendsRequest& request);

  // Strand: the manager's view has been published.
  void published();
  // Ends all streams, and every later one at once, with UNAVAILABLE. Once the strand runs no more.
  void end();

  // A change of one backend, shared by all streams.
  struct Event {
    std::uint64_t revision = 0;
    std::pair<std::string, std::string> of;  // service and id
    std::shared_ptr<const v1::WatchBackendsResponse> message;
  };

 private:
  friend class WatchStream;
  void attach(const std::shared_ptr<WatchStream>& stream, const v1::WatchBackendsRequest& request);
  void compare(const View& next, const std::string& name);
  void add(std::uint64_t revision, const std::string& service, const v1::Backend& backend,
           bool removed);

  const std::shared_ptr<Manager> manager_;
  const std::string instance_;

  // Strand only.
  std::shared_ptr<const View> before_;
  std::deque<Event> history_;
  std::uint64_t complete_from_ = 0;  // all events of this revision and later ones are in history_
  std::unordered_set<std::shared_ptr<WatchStream>> attached_;

  std::mutex mutex_;
  bool ended_ = false;                                        // guarded by mutex_
  std::unordered_set<std::shared_ptr<WatchStream>> streams_;  // guarded by mutex_: all alive
};

}  // namespace crab
