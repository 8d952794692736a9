// SPDX-License-Identifier: Apache-2.0
// The control socket: made, taken over, or refused.
#include "control/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "tests/unit/control/test_server.h"

namespace crab {
namespace {

using ::testing::HasSubstr;

// A socket bound to path as a process leaves it that was killed, or, listening, one that lives.
int bind_socket(const std::string& path, bool listening) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), address.sun_path);
  EXPECT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  if (listening) {
    EXPECT_EQ(listen(fd, 1), 0);
  }
  return fd;
}

int connect_to(const std::string& path) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::copy(path.begin(), path.end(), address.sun_path);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

std::string failure_of(TestServer& server) {
  try {
    server.start();
  } catch (const std::runtime_error& e) {
    return e.what();
  }
  return "";
}

TEST(Listener, HasItsDirectoryMadeAndIsForOwnerAndGroup) {
  TestServer server;
  server.start();
  struct stat status {};
  ASSERT_EQ(stat(server.socket().c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 0777, 0660u);
  ASSERT_EQ(stat(server.socket().parent_path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0750u);
  server.stop();
  EXPECT_NE(stat(server.socket().c_str(), &status), 0);
}

TEST(Listener, TakesOverAStaleSocket) {
  TestServer server;
  std::filesystem::create_directories(server.socket().parent_path());
  close(bind_socket(server.socket(), false));
  EXPECT_EQ(failure_of(server), "");
}

TEST(Listener, RefusesALiveSocket) {
  TestServer server;
  std::filesystem::create_directories(server.socket().parent_path());
  const int fd = bind_socket(server.socket(), true);
  EXPECT_THAT(failure_of(server), HasSubstr("another process listens on it"));
  EXPECT_TRUE(std::filesystem::exists(server.socket()));
  close(fd);
}

TEST(Listener, LeavesAFileThatIsNoSocketAlone) {
  TestServer server;
  std::filesystem::create_directories(server.socket().parent_path());
  std::ofstream(server.socket()) << "precious";
  EXPECT_THAT(failure_of(server), HasSubstr("a file that is no socket"));
  EXPECT_EQ(std::filesystem::file_size(server.socket()), 8u);
}

TEST(Listener, SaysWhyItsDirectoryCannotBeMade) {
  TemporaryDirectory directory;
  std::ofstream(directory.path() / "file") << "x";
  const std::string path = directory.path() / "file" / "control.sock";
  try {
    prepare_socket(path);
    FAIL() << "it could";
  } catch (const std::runtime_error& e) {
    EXPECT_THAT(e.what(), HasSubstr("control.sock"));
    EXPECT_THAT(e.what(), HasSubstr("Not a directory"));
  }
}

// As when a process has as many descriptors as it may: the connection waits, and nothing is lost.
TEST(Listener, PausesWithoutFileDescriptors) {
  TemporaryDirectory directory;
  const std::string path = directory.path() / "control.sock";
  boost::asio::io_context io;
  ListenerCounters counters;
  Listener listener(io, UnixPath{path}, counters);
  std::vector<int> accepted;
  listener.start([&](int fd) { accepted.push_back(fd); });
  const int client = connect_to(path);
  ASSERT_GE(client, 0);

  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const int lowest_free = dup(client);
  close(lowest_free);
  const rlimit none{static_cast<rlim_t>(lowest_free), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const auto& paused = counters.n_refused[static_cast<std::size_t>(ConnectionRefusal::FdLimit)];
  while (paused < 2 && io.run_one_for(std::chrono::minutes(1)) == 1) continue;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_EQ(paused, 2u);
  EXPECT_EQ(counters.n_accepted, 0u);
  EXPECT_EQ(accepted.size(), 0u);

  while (accepted.empty() && io.run_one_for(std::chrono::minutes(1)) == 1) continue;
  EXPECT_EQ(accepted.size(), 1u);
  EXPECT_EQ(counters.n_accepted, 1u);
  for (const int fd : accepted) close(fd);
  close(client);
}

TEST(Listener, LeavesASocketThatIsNotItsOwnAnyMore) {
  TemporaryDirectory directory;
  const std::string path = directory.path() / "control.sock";
  boost::asio::io_context io;
  ListenerCounters counters;
  auto first = std::make_unique<Listener>(io, UnixPath{path}, counters);
  unlink(path.c_str());
  const int other = bind_socket(path, true);
  first.reset();
  EXPECT_TRUE(std::filesystem::exists(path));
  close(other);
}

}  // namespace
}  // namespace crab
