// SPDX-License-Identifier: Apache-2.0
// What was answered to requests with a request_id, so that one that is sent again, because its
// answer was lost, gets the same answer and is not done twice. Successes alone: what has failed may
// be tried again under the same id. Any thread.
#pragma once

#include <grpcpp/support/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace crab {

class RequestCache {
 public:
  // What is older, or beyond these counts, oldest first, is forgotten.
  struct Limits {
    std::size_t n_requests = 10'000;
    std::size_t n_bytes = 64 << 20;  // of requests and answers
    std::chrono::seconds age{600};
  };
  using Clock = std::function<std::chrono::steady_clock::time_point()>;
  // With the answer's bytes, unless the status says that there is none.
  using Deliver = std::function<void(const grpc::Status&, const std::string& answer)>;

  RequestCache() : RequestCache({}, std::chrono::steady_clock::now) {}
  RequestCache(Limits limits, Clock now) : limits_(limits), now_(std::move(now)) {}

  enum class Seen {
    Never,      // it is the caller's to do, and then to finish()
    Alike,      // `deliver` has been called, or will be when the first one is finished
    Otherwise,  // the id was another request's
  };
  // `request`: the rpc's name and the request's bytes, its id apart.
  Seen begin(const std::string& id, const std::string& request, Deliver deliver);
  void finish(const std::string& id, const grpc::Status& status, const std::string& answer);

 private:
  struct Entry {
    std::string request;
    std::string answer;
    bool is_done = false;
    std::vector<Deliver> waiting;
    std::chrono::steady_clock::time_point done_at;
    std::list<std::string>::iterator in_order;  // if it is done
  };
  void forget_old();

  const Limits limits_;
  const Clock now_;
  std::mutex mutex_;  // everything below
  std::unordered_map<std::string, Entry> entries_;
  std::list<std::string> done_;  // ids, oldest first
  std::size_t n_bytes_ = 0;      // of what is done
};

}  // namespace crab
