// SPDX-License-Identifier: Apache-2.0
// The control socket: made, taken over, or refused.
#include "control/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
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

}  // namespace
}  // namespace crab
