// SPDX-License-Identifier: Apache-2.0
// crab-paper-server: all backends of the paper's experiment in one process, one thread. A backend
// is an address; it serves one request at a time, in the order they came, by sleeping as long as
// the request says. It answers and closes first.
//
//   request: the service time in microseconds, decimal, and a newline       answer: "ok\n"
#include <sys/prctl.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <boost/asio.hpp>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <string>
#include <utility>
#include <vector>

namespace crab::perf {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;

struct Backend {
  tcp::acceptor acceptor;
  // When the last of its queue will be done: a request that comes starts then, or now. Lateness of
  // a timer delays an answer, but does not add up.
  Clock::time_point free_at{};
  std::uint64_t n_served = 0;
};

std::chrono::microseconds parse_service_time(const std::string& line) {
  std::int64_t us = 0;
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), us);
  if (error != std::errc() || *end != '\n' || us < 0) {
    throw std::runtime_error("not a service time: " + line);
  }
  return std::chrono::microseconds(us);
}

awaitable<void> serve(Backend& backend, tcp::socket socket) try {
  std::string line;
  co_await asio::async_read_until(socket, asio::dynamic_buffer(line, 64), '\n', use_awaitable);
  const auto service_time = parse_service_time(line);
  backend.free_at = std::max(backend.free_at, Clock::now()) + service_time;
  asio::steady_timer done(socket.get_executor(), backend.free_at);
  co_await done.async_wait(use_awaitable);
  co_await asio::async_write(socket, asio::buffer("ok\n", 3), use_awaitable);
  ++backend.n_served;
} catch (const std::exception& e) {
  std::fprintf(stderr, "a connection ended: %s\n", e.what());
}

awaitable<void> accept(Backend& backend) {
  for (;;) {
    tcp::socket socket = co_await backend.acceptor.async_accept(use_awaitable);
    socket.set_option(tcp::no_delay(true));
    asio::co_spawn(socket.get_executor(), serve(backend, std::move(socket)), asio::detached);
  }
}

tcp::acceptor listen(asio::io_context& io, const tcp::endpoint& endpoint) {
  tcp::acceptor acceptor(io, endpoint.protocol());
  acceptor.set_option(tcp::acceptor::reuse_address(true));
  acceptor.bind(endpoint);
  acceptor.listen(4096);
  return acceptor;
}

int run(int argc, char** argv) {
  CLI::App app("the backends of the paper's experiment, each on an address of its own");
  std::vector<std::string> addresses;
  std::uint16_t port = 8080;
  app.add_option("addresses", addresses, "a backend each")->required();
  app.add_option("--port", port, "of all of them (8080)");
  CLI11_PARSE(app, argc, argv);

  prctl(PR_SET_TIMERSLACK, 1);
  asio::io_context io(1);
  std::deque<Backend> backends;
  for (const auto& address : addresses) {
    backends.push_back({.acceptor = listen(io, {asio::ip::make_address(address), port})});
    asio::co_spawn(io, accept(backends.back()), asio::detached);
  }
  asio::signal_set signals(io, SIGINT, SIGTERM);
  signals.async_wait([&io](auto, int) { io.stop(); });
  std::puts("listening");
  std::fflush(stdout);
  io.run();
  for (std::size_t i = 0; i < backends.size(); ++i) {
    std::printf("%s %llu\n", addresses[i].c_str(),
                static_cast<unsigned long long>(backends[i].n_served));
  }
  return 0;
}

}  // namespace
}  // namespace crab::perf

int main(int argc, char** argv) {
  try {
    return crab::perf::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "crab-paper-server: %s\n", e.what());
    return 1;
  }
}
