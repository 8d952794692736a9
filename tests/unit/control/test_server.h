// SPDX-License-Identifier: Apache-2.0
// A ControlServer over a fake datapath, on a socket in a directory of its own, its strand on a
// thread as in crab-lb.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "control/server.h"
#include "control/validate.h"
#include "tests/unit/control/fake_dataplane.h"

namespace crab {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = std::filesystem::temp_directory_path() / "crab-test.XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp");
    path_ = pattern;
  }
  ~TemporaryDirectory() { std::filesystem::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

class TestServer {
 public:
  explicit TestServer(v1::Config config = {}) {
    config.set_node(1);
    config.mutable_control()->add_listen(listener());
    fill_in_defaults(&config);
    server_ = std::make_unique<ControlServer>(config, dataplane, io_);
  }
  ~TestServer() { stop(); }

  // Relative to the directory, "run" is what start() has to make.
  std::string listener() const { return "unix:" + socket().string(); }
  std::filesystem::path socket() const { return directory_.path() / "run" / "control.sock"; }

  void start() {
    server_->start();
    thread_ = std::thread([this] { io_.run(); });
  }
  // As crab-lb does it: the strand ends first.
  void stop() {
    stop_strand();
    server_->stop();
  }
  void stop_strand() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }
  // Runs f on the strand's thread and waits for it.
  void on_strand(const std::function<void(FakeDataplane&)>& f) {
    std::promise<void> done;
    boost::asio::post(io_, [&] {
      f(dataplane);
      done.set_value();
    });
    done.get_future().wait();
  }

  FakeDataplane dataplane;  // the strand's, once it is started

 private:
  TemporaryDirectory directory_;
  boost::asio::io_context io_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      io_.get_executor()};
  std::unique_ptr<ControlServer> server_;
  std::thread thread_;
};

// Waits for what happens without being asked for; a minute is for the slowest machine.
inline bool eventually(const std::function<bool()>& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return true;
}

}  // namespace crab
