// SPDX-License-Identifier: Apache-2.0
// What every command of crabctl has: its options, its connection, its output.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "control/ctl/client.h"
#include "control/ctl/print.h"
#include "control/identity/server_options.h"

namespace crab {

struct Options {
  std::string server = "unix:/run/crab/control.sock";
  TlsClientOptions tls;
  unsigned timeout_seconds = 10;
  std::string format = "table";
  // What the commands take.
  std::string name;
  std::vector<std::string> ids;
  std::vector<std::string> backends;
  v1::Service service;
  std::vector<std::string> parameters;
  std::vector<std::string> keys;
  std::string announce = "arp";
  std::string form = "crab";
  std::string load_signal = "agent";
  v1::Backend backend;
  std::uint32_t weight = 0;
  bool all = false;
  // Of drains.
  std::uint32_t drain_seconds = 0;
  bool force = false;
  bool wait = false;
  std::string reason;
};

inline Client connect(const Options& options) {
  return Client(options.server, options.tls, std::chrono::seconds(options.timeout_seconds));
}

// Writes a response, as `table` says if that is the format.
template <typename Message>
void print(const Options& options, const Message& message, const std::string& table) {
  const std::string text = options.format == "json"   ? to_json(message)
                           : options.format == "yaml" ? to_yaml(message)
                                                      : table;
  std::fwrite(text.data(), 1, text.size(), stdout);
}

inline std::string at_revision(std::uint64_t revision) {
  return " (revision " + std::to_string(revision) + ")\n";
}

// All pages.
inline v1::ListBackendsResponse list_all_backends(Client* client, const std::string& service) {
  v1::ListBackendsResponse all;
  v1::ListBackendsRequest request;
  request.set_service(service);
  do {
    auto page = client->call(&v1::BackendService::Stub::ListBackends, request);
    request.set_page_token(page.next_page_token());
    all.MergeFrom(page);
  } while (!request.page_token().empty());
  all.clear_next_page_token();
  return all;
}

}  // namespace crab
