// SPDX-License-Identifier: Apache-2.0
// One stream of WatchBackends: a snapshot, a marker, and then events. A client that does not read
// costs a bounded amount: of what waits for it only the newest change of each backend is kept, and
// with too many the stream ends.
#pragma once

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "control/watch_hub.h"

namespace crab {

class WatchStream final : public grpc::ServerWriteReactor<v1::WatchBackendsResponse>,
                          public std::enable_shared_from_this<WatchStream> {
 public:
  // An empty service: all.
  WatchStream(WatchHub& hub, std::string service) : service_(std::move(service)), hub_(hub) {}

  // Strand, once: what there is, and then the marker. Without a view the marker alone.
  void begin(std::shared_ptr<const View> snapshot, std::uint64_t revision,
             const std::string& instance);
  // Strand, after begin().
  void add(const WatchHub::Event& event);
  // Any thread; the first one counts.
  void finish(const grpc::Status& status);

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  bool left = false;  // strand

 private:
  // All below with mutex_ held.
  void write_next();
  bool take_existing();

  const std::string service_;
  WatchHub& hub_;
  std::mutex mutex_;
  std::shared_ptr<const View> snapshot_;      // what is left of it begins at next_
  std::pair<std::string, std::string> next_;  // service, id; those up to it are sent
  std::optional<v1::WatchBackendsResponse> marker_;
  std::list<WatchHub::Event> pending_;  // in order, one for each backend at most
  std::map<std::pair<std::string, std::string>, std::list<WatchHub::Event>::iterator> place_;
  std::shared_ptr<const v1::WatchBackendsResponse> on_wire_;
  bool writing_ = false;
  bool finishing_ = false;
  grpc::Status status_;
};

}  // namespace crab
