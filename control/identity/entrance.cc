// SPDX-License-Identifier: Apache-2.0
#include "control/identity/entrance.h"

#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/post.hpp>
#include <future>
#include <system_error>
#include <utility>

#include "control/identity/tls_session.h"

namespace crab {
namespace {

gid_t group_of(const ListenAddress& address) {
  const auto* path = std::get_if<UnixPath>(&address);
  struct stat status {};
  if (path != nullptr && stat(path->path.c_str(), &status) == 0) return status.st_gid;
  return getegid();
}

}  // namespace

Entrance::Entrance(const v1::Control& control)
    : control_(control), authorizer_(control), gate_(authorizer_, connections_, denied_) {
  if (control_.has_tls()) tls_.emplace(control_.tls());
  for (const auto& text : control_.listen()) {
    const auto address = parse_listen_address(text);
    if (!address) throw std::runtime_error("control.listen: '" + text + "' is no address");
    Door& door = doors_.emplace_back(text, *address);
    door.listener = std::make_unique<Listener>(io_, door.address, door.counters);
    door.group = group_of(door.address);
    if (is_tcp(door.address) && !tls_) {
      spdlog::warn("control.insecure: {} takes anybody, without encryption", text);
    }
  }
}

Entrance::~Entrance() {
  stop_accepting();
  stop();
}

void Entrance::start(HandOver hand_over) {
  hand_over_ = std::move(hand_over);
  accepting_ = true;
  for (auto& door : doors_) {
    door.listener->start([this, at = &door](int fd) { accept(at, fd); });
  }
  if (tls_) refresh_certificates();
  thread_ = std::thread([this] { io_.run(); });
}

void Entrance::stop_accepting() {
  const auto close_all = [this] {
    accepting_ = false;
    for (auto& door : doors_) {
      if (!door.listener) continue;
      door.listener->close();
    }
  };
  if (!thread_.joinable()) return close_all();
  std::promise<void> done;
  boost::asio::post(io_, [&] {
    close_all();
    done.set_value();
  });
  done.get_future().wait();
}

void Entrance::stop() {
  refresh_timer_.cancel();
  work_.reset();
  io_.stop();
  if (thread_.joinable()) thread_.join();
  for (auto& door : doors_) door.listener.reset();
}

void Entrance::refresh_certificates() {
  refresh_timer_.expires_after(std::chrono::seconds(control_.tls().refresh_seconds()));
  refresh_timer_.async_wait([this](const auto& error) {
    if (error) return;
    tls_->refresh();
    refresh_certificates();
  });
}

bool Entrance::admits_another() {
  // gRPC does not say when it has closed one: counted when it matters. A session is counted twice,
  // by itself and by gRPC's end of its pair.
  if (n_open_ + n_tls_ >= kMaxConnections) {
    n_open_ = connections_.prune();
    n_open_ -= std::min(n_open_, n_tls_);
  }
  return n_open_ + n_tls_ < kMaxConnections;
}

void Entrance::accept(Door* door, int fd) {
  if (!admits_another()) {
    door->counters.refuse(ConnectionRefusal::ConnectionLimit);
    close(fd);
  } else if (is_tcp(door->address) && tls_) {
    accept_tls(door, fd);
  } else if (is_tcp(door->address)) {
    ++n_open_;
    hand_over(door, fd, Caller{});
  } else {
    try {
      Caller caller = unix_caller(fd, door->group);
      ++n_open_;
      hand_over(door, fd, std::move(caller));
    } catch (const std::system_error& error) {
      door->counters.refuse(ConnectionRefusal::NoPeer);
      spdlog::warn("{}: a connection whose peer is not known: {}", door->text, error.what());
      close(fd);
    }
  }
}

void Entrance::accept_tls(Door* door, int fd) {
  const bool is_v4 = std::get<SocketAddress>(door->address).address.is_v4();
  boost::asio::ip::tcp::socket socket(io_);
  boost::system::error_code error;
  socket.assign(is_v4 ? boost::asio::ip::tcp::v4() : boost::asio::ip::tcp::v6(), fd, error);
  if (error) {
    door->counters.refuse(ConnectionRefusal::FdLimit);
    close(fd);
    return;
  }
  ++n_tls_;
  const auto session = std::make_shared<TlsSession>(
      std::move(socket), tls_->material(),
      TlsSession::Handlers{
          .on_ready =
              [this, door](int inner, Caller caller) {
                if (accepting_) return hand_over(door, inner, std::move(caller));
                close(inner);
              },
          .on_refused = [door](ConnectionRefusal why) { door->counters.refuse(why); },
          .on_end = [this] { --n_tls_; },
      });
  session->start();
}

void Entrance::hand_over(Door* door, int fd, Caller caller) {
  spdlog::debug("{}: {} has connected", door->text, caller.identity);
  const auto shared = std::make_shared<const Caller>(std::move(caller));
  try {
    connections_.add(fd, shared);
  } catch (const std::system_error& error) {
    door->counters.refuse(ConnectionRefusal::NoPeer);
    close(fd);
    return;
  }
  hand_over_(fd, *shared);
}

v1::GetAccessResponse Entrance::describe() const {
  v1::GetAccessResponse response;
  for (const auto& door : doors_) {
    auto* listener = response.add_listeners();
    listener->set_address(door.text);
    listener->set_security(!is_tcp(door.address) ? v1::ControlListener::SECURITY_PEER_CREDENTIALS
                           : tls_                ? v1::ControlListener::SECURITY_MTLS
                                                 : v1::ControlListener::SECURITY_INSECURE);
    listener->set_accepted_connections(door.counters.n_accepted.load(std::memory_order_relaxed));
    for (std::size_t i = 0; i < kNConnectionRefusals; ++i) {
      auto* refused = listener->add_refused();
      refused->set_reason(name_of(static_cast<ConnectionRefusal>(i)));
      refused->set_connections(door.counters.n_refused[i].load(std::memory_order_relaxed));
    }
  }
  if (tls_) *response.mutable_certificate() = tls_->describe();
  for (const auto& [key, n] : denied_.read()) {
    auto* denied = response.add_denied();
    denied->set_method(key.first);
    denied->set_reason(key.second);
    denied->set_calls(n);
  }
  return response;
}

}  // namespace crab
