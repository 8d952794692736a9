// SPDX-License-Identifier: Apache-2.0
// What gRPC 1.51 does with descriptors that it is given, on which control/identity/connections.h
// relies: a call's peer is "fd:N", and N stays the connection's own for as long as a call lives.
#include "control/identity/connections.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <future>
#include <mutex>
#include <thread>

#include "health.grpc.pb.h"
#include "tests/unit/control/test_server.h"

namespace crab {
namespace {

using grpc::health::v1::Health;

// Answers no call until it is told to.
class Slow final : public Health::CallbackService {
 public:
  class Reactor final : public grpc::ServerUnaryReactor {
   public:
    explicit Reactor(std::promise<void>* cancelled) : cancelled_(cancelled) {}
    void OnCancel() override { cancelled_->set_value(); }
    void OnDone() override { delete this; }

   private:
    std::promise<void>* cancelled_;
  };

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* rpc,
                                  const grpc::health::v1::HealthCheckRequest*,
                                  grpc::health::v1::HealthCheckResponse*) override {
    auto* reactor = new Reactor(&cancelled);
    begun.set_value({rpc->peer(), reactor});
    return reactor;
  }

  std::promise<std::pair<std::string, Reactor*>> begun;
  std::promise<void> cancelled;
};

struct SocketPair {
  SocketPair() {
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
  }
  int ends[2] = {-1, -1};
};

CallerPtr caller(const std::string& identity) {
  return std::make_shared<const Caller>(
      Caller{.identity = identity, .identities = {identity}, .is_local_administrator = false});
}

TEST(Connections, ACallHoldsItsDescriptorEvenWhenTheClientHasGone) {
  Slow service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  const auto server = builder.BuildAndStart();
  const SocketPair pair;
  const int fd = pair.ends[0];
  Connections connections;
  connections.add(fd, caller("uid:1"));
  grpc::AddInsecureChannelFromFd(server.get(), fd);

  auto channel = grpc::CreateInsecureChannelFromFd("crab", pair.ends[1]);
  auto context = std::make_unique<grpc::ClientContext>();
  std::thread client([&] {
    grpc::health::v1::HealthCheckResponse response;
    EXPECT_FALSE(Health::NewStub(channel)->Check(context.get(), {}, &response).ok());
  });
  auto begun = service.begun.get_future();
  ASSERT_EQ(begun.wait_for(std::chrono::minutes(1)), std::future_status::ready);
  const auto [peer, reactor] = begun.get();
  EXPECT_EQ(peer, "fd:" + std::to_string(fd));

  // The client leaves with its connection, and the server sees that; the call goes on.
  context->TryCancel();
  client.join();
  context.reset();
  channel.reset();
  ASSERT_EQ(service.cancelled.get_future().wait_for(std::chrono::minutes(1)),
            std::future_status::ready);
  pollfd hung_up{fd, POLLIN, 0};
  ASSERT_EQ(poll(&hung_up, 1, 60'000), 1);
  // Who connects meanwhile gets other descriptors, and the call's caller stays who it was.
  for (int i = 0; i < 100; ++i) {
    const SocketPair other;
    ASSERT_NE(other.ends[0], fd);
    ASSERT_NE(other.ends[1], fd);
    ASSERT_NE(connections.find(peer), nullptr);
    EXPECT_EQ(connections.find(peer)->identity, "uid:1");
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    close(other.ends[0]);
    close(other.ends[1]);
  }
  EXPECT_EQ(connections.prune(), 1u);

  reactor->Finish(grpc::Status::OK);
  EXPECT_TRUE(eventually([&] { return connections.prune() == 0; }));
  server->Shutdown();
}

TEST(Connections, AnEntryThatIsNotTheDescriptorsIsNobody) {
  Connections connections;
  const SocketPair first;
  const int fd = first.ends[0];
  connections.add(fd, caller("uid:1"));
  ASSERT_NE(connections.find("fd:" + std::to_string(fd)), nullptr);
  for (const char* peer : {"", "fd:", "fd:x", "fd:1x", "fd:-1", "unix:", "ipv4:10.0.0.1:1"}) {
    EXPECT_EQ(connections.find(peer), nullptr) << peer;
  }
  // Another socket takes the number over, without being entered.
  const SocketPair second;
  ASSERT_EQ(dup2(second.ends[0], fd), fd);
  EXPECT_EQ(connections.find("fd:" + std::to_string(fd)), nullptr);
  connections.add(fd, caller("uid:2"));
  EXPECT_EQ(connections.find("fd:" + std::to_string(fd))->identity, "uid:2");
  for (const int one : {fd, first.ends[1], second.ends[0], second.ends[1]}) close(one);
  EXPECT_EQ(connections.prune(), 0u);
}

}  // namespace
}  // namespace crab
