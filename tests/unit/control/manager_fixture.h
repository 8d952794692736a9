// SPDX-License-Identifier: Apache-2.0
// A manager over a fake datapath, driven step by step from the test's own thread.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/manager.h"
#include "tests/unit/control/fake_dataplane.h"

namespace crab {

// The same tests over both families.
struct ManagerNet {
  const char* name;
  const char* vip;
  const char* other_vip;
  const char* own;
  const char* hosts;  // a backend's address is this with a digit after it
};

inline constexpr ManagerNet kManagerNets[] = {
    {"Ipv4", "10.0.0.100", "10.0.0.101", "10.0.0.1", "10.0.1."},
    {"Ipv6", "fd00::100", "fd00::101", "fd00::1", "fd00:1::"}};

class ManagerTest : public ::testing::TestWithParam<ManagerNet> {
 protected:
  struct Answer {
    std::optional<Failure> failure;
    Manager::Reply reply;
  };

  ManagerTest() {
    dataplane_.own.insert(address(GetParam().own));
    manager_ = Manager::make(
        io_, dataplane_, 7, [this] { return now_; }, {},
        [this] { return WallTime(now_.time_since_epoch()) + wall_offset_; });
  }

  static IpAddress address(const std::string& text) { return IpAddress::parse(text).value(); }
  static std::string host(int i) { return GetParam().hosts + std::to_string(i); }

  void start(const v1::Config& config = {}) {
    manager_->start(config);
    settle();
  }
  void settle() {
    io_.restart();
    io_.poll();
  }

  static v1::Service service(const std::string& name, const char* vip = GetParam().vip) {
    v1::Service message;
    message.set_name(name);
    message.set_address(vip);
    message.set_port(80);
    return message;
  }
  static void add(v1::Service* message, const std::string& id, int i, unsigned port = 8080) {
    auto* backend = message->add_backends();
    backend->set_id(id);
    backend->set_address(host(i));
    backend->set_port(port);
  }

  std::shared_ptr<Answer> submit(Manager::Change change) {
    auto answer = std::make_shared<Answer>();
    answer->failure.emplace().reason = "NOT_ANSWERED";
    manager_->submit(std::move(change), [answer](const auto& failure, const auto& reply) {
      *answer = {failure, reply};
    });
    return answer;
  }
  std::shared_ptr<Answer> submit_create(const v1::Service& message) {
    return submit([message](auto& state, auto* effect) {
      return state.create_service(message, Owner::Api, effect);
    });
  }
  std::shared_ptr<Answer> submit_register(const std::string& name, const v1::Service& backends) {
    return submit([name, backends](auto& state, auto* effect) {
      return state.register_backends(name, backends.backends(), Owner::Api, effect);
    });
  }
  // The reason of the failure, or "".
  std::string run(const std::shared_ptr<Answer>& answer) {
    settle();
    return answer->failure ? answer->failure->reason : "";
  }
  std::string create(const v1::Service& message) { return run(submit_create(message)); }
  std::string put(const std::string& id, int i, unsigned port = 8080) {
    v1::Service message;
    add(&message, id, i, port);
    return run(submit_register("web", message));
  }
  // At once, without a drain.
  std::string remove(const std::vector<std::string>& ids) {
    return deregister(ids, {.timeout = std::chrono::milliseconds(0), .reason = {}, .etags = {}});
  }
  std::string deregister(const std::vector<std::string>& ids, const DrainOptions& options = {}) {
    return run(submit([ids, options](auto& state, auto* effect) {
      return state.deregister_backends("web", ids, options, effect);
    }));
  }
  std::string destroy(const std::string& name) {
    return run(submit([name](auto& state, auto* effect) {
      return state.delete_service(name, Owner::Api, effect);
    }));
  }

  std::vector<std::string> eligible(const char* vip = GetParam().vip) const {
    std::vector<std::string> ids;
    const auto* spec = dataplane_.find(vip);
    if (spec == nullptr) return {"no such service"};
    for (const auto& backend : spec->eligible) ids.push_back(backend.id);
    return ids;
  }
  Health health_of(const std::string& id, std::string* reason = nullptr) const {
    const auto view = manager_->view();
    const ServiceRecord& web = *view->find("web");
    return view->health_of(web, web.backends.at(id), reason);
  }
  std::uint32_t slot(const std::string& id) const {
    return *manager_->view()->find("web")->backends.at(id).load_slot;
  }

  boost::asio::io_context io_;
  FakeDataplane dataplane_;
  std::chrono::steady_clock::time_point now_{};
  std::chrono::nanoseconds wall_offset_ =
      std::chrono::hours(24 * 365 * 56);  // set back or forth by tests
  std::shared_ptr<Manager> manager_;
};

}  // namespace crab
