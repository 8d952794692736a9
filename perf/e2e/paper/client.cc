// SPDX-License-Identifier: Apache-2.0
// crab-paper-client: the paper's open-loop client. Requests start at the times of a Poisson
// process, whether earlier ones have been answered or not, each on a connection of its own; the
// latency counts from the moment a request should have started. The server closes first.
//
// Prints one JSON object. The same seed has the same arrivals and service times.
#include <netinet/in.h>
#include <sys/prctl.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <boost/asio.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "perf/sim/random_stream.h"
#include "perf/sim/service_time.h"

namespace crab::perf {
namespace {

namespace asio = boost::asio;
using asio::awaitable;
using asio::use_awaitable;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using Microseconds = std::chrono::duration<double, std::micro>;

// A source port is chosen at connect(), for the destination: as many per address as there are.
using BindAddressNoPort = asio::detail::socket_option::boolean<IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT>;

struct Options {
  std::string address;
  std::uint16_t port = 80;
  std::vector<std::string> sources;
  double rate = 0;  // requests per second
  std::uint64_t n_requests = 20'000;
  std::uint64_t n_warm_up = 2'000;  // before those
  double mean_ms = 20;
  std::string service = "exponential";
  std::uint64_t seed = 1;
};

class Client {
 public:
  Client(asio::io_context& io, const Options& options, sim::ServiceKind kind)
      : options_(options),
        kind_(kind),
        target_(asio::ip::make_address(options.address), options.port),
        timer_(io),
        arrivals_(options.seed, 1),
        work_(options.seed, 2) {
    for (const auto& source : options.sources) {
      sources_.emplace_back(asio::ip::make_address(source), 0);
    }
  }

  awaitable<void> run() {
    const Clock::time_point start = Clock::now() + std::chrono::milliseconds(10);
    Microseconds offset{};
    for (std::uint64_t i = 0; i < options_.n_warm_up + options_.n_requests; ++i) {
      offset += Microseconds(arrivals_.exponential(1e6 / options_.rate));
      const auto intended = start + std::chrono::duration_cast<Clock::duration>(offset);
      const Microseconds service(options_.mean_ms * 1e3 * sim::draw_service(kind_, work_));
      timer_.expires_at(intended);
      co_await timer_.async_wait(use_awaitable);
      asio::co_spawn(timer_.get_executor(), request(i, intended, service), asio::detached);
    }
  }
  void print();

 private:
  awaitable<void> request(std::uint64_t i, Clock::time_point intended, Microseconds service);
  awaitable<void> exchange(tcp::socket& socket, Microseconds service);

  const Options& options_;
  const sim::ServiceKind kind_;
  const tcp::endpoint target_;
  std::vector<tcp::endpoint> sources_;
  asio::steady_timer timer_;
  sim::RandomStream arrivals_, work_;
  std::vector<double> latencies_us_;
  std::vector<double> lateness_us_;
  std::map<std::string, std::uint64_t> failures_;
};

awaitable<void> Client::request(std::uint64_t i, Clock::time_point intended, Microseconds service) {
  const bool is_measured = i >= options_.n_warm_up;
  const Microseconds lateness = Clock::now() - intended;
  try {
    tcp::socket socket(timer_.get_executor(), target_.protocol());
    if (!sources_.empty()) {
      socket.set_option(BindAddressNoPort(true));
      socket.bind(sources_[i % sources_.size()]);
    }
    co_await exchange(socket, service);
    if (!is_measured) co_return;
    latencies_us_.push_back(Microseconds(Clock::now() - intended).count());
    lateness_us_.push_back(lateness.count());
  } catch (const boost::system::system_error& e) {
    ++failures_[e.code().message()];
  }
}

awaitable<void> Client::exchange(tcp::socket& socket, Microseconds service) {
  co_await socket.async_connect(target_, use_awaitable);
  socket.set_option(tcp::no_delay(true));
  const std::string line = std::to_string(static_cast<std::int64_t>(service.count())) + "\n";
  co_await asio::async_write(socket, asio::buffer(line), use_awaitable);
  std::string answer;
  boost::system::error_code error;
  co_await asio::async_read(socket, asio::dynamic_buffer(answer, 64),
                            asio::redirect_error(use_awaitable, error));
  if (error != asio::error::eof) throw boost::system::system_error(error);
  if (answer != "ok\n") throw boost::system::system_error(asio::error::connection_aborted);
}

double percentile(std::vector<double>& values, double share) {
  if (values.empty()) return 0;
  const auto rank = static_cast<std::size_t>(share * static_cast<double>(values.size()));
  const auto nth = values.begin() + static_cast<std::ptrdiff_t>(std::min(rank, values.size() - 1));
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

void Client::print() {
  const double sum = std::accumulate(latencies_us_.begin(), latencies_us_.end(), 0.0);
  std::printf(
      "{\"n\": %zu, \"mean_ms\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, "
      "\"start_late_p50_ms\": %.3f, \"start_late_p99_ms\": %.3f, \"failures\": {",
      latencies_us_.size(),
      sum / 1e3 / static_cast<double>(std::max<std::size_t>(1, latencies_us_.size())),
      percentile(latencies_us_, 0.5) / 1e3, percentile(latencies_us_, 0.99) / 1e3,
      percentile(latencies_us_, 0.999) / 1e3, percentile(lateness_us_, 0.5) / 1e3,
      percentile(lateness_us_, 0.99) / 1e3);
  const char* separator = "";
  for (const auto& [what, n] : failures_) {
    std::printf("%s\"%s\": %llu", separator, what.c_str(), static_cast<unsigned long long>(n));
    separator = ", ";
  }
  std::puts("}}");
}

int run(int argc, char** argv) {
  CLI::App app("an open-loop Poisson client, a connection for each request");
  Options options;
  app.add_option("address", options.address, "of the service")->required();
  app.add_option("--port", options.port, "of the service (80)");
  app.add_option("--sources", options.sources, "own addresses to connect from, in turn")
      ->delimiter(',');
  app.add_option("--rate", options.rate, "requests per second")
      ->required()
      ->check(CLI::PositiveNumber);
  app.add_option("--requests", options.n_requests, "that are measured (20000)");
  app.add_option("--warm-up", options.n_warm_up, "requests before those (2000)");
  app.add_option("--mean-ms", options.mean_ms, "mean service time (20)")
      ->check(CLI::PositiveNumber);
  app.add_option("--service", options.service, "its distribution (exponential)");
  app.add_option("--seed", options.seed, "of the random numbers (1)");
  CLI11_PARSE(app, argc, argv);
  const auto kind = sim::parse_service_kind(options.service);
  if (!kind) throw std::invalid_argument("--service: no such distribution: " + options.service);

  prctl(PR_SET_TIMERSLACK, 1);
  asio::io_context io(1);
  Client client(io, options, *kind);
  asio::co_spawn(io, client.run(), [](const std::exception_ptr& failure) {
    if (failure) std::rethrow_exception(failure);
  });
  io.run();
  client.print();
  return 0;
}

}  // namespace
}  // namespace crab::perf

int main(int argc, char** argv) {
  try {
    return crab::perf::run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "crab-paper-client: %s\n", e.what());
    return 1;
  }
}
