// SPDX-License-Identifier: Apache-2.0
// How a client reaches a node's control API: crabctl and crab-agent, with the same words.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace CLI {
class App;
}

namespace crab {

struct TlsClientOptions {
  std::string ca;           // file: who signs the servers' certificates
  std::string certificate;  // file: the client's own
  std::string key;
  // Whom the server's certificate has to be for, if not the host's name or address in the address:
  // a DNS name, or spiffe://TRUST-DOMAIN/PATH.
  std::string server_name;
  bool insecure = false;  // tcp: without encryption
};

// --ca, --cert, --key, --server-name and --insecure, or the variables CRAB_CA, CRAB_CERT, CRAB_KEY
// and CRAB_SERVER_NAME.
void add_tls_options(CLI::App* app, TlsClientOptions* options);

// tcp:HOST:PORT, HOST being a name, an IPv4 address or an IPv6 address in brackets.
struct TcpServer {
  std::string host;  // without brackets
  std::uint16_t port = 0;
  bool is_v6_literal = false;
  std::string host_and_port() const;
};
std::optional<TcpServer> parse_tcp_server(const std::string& text);

// What is wrong with unix:/PATH or tcp:HOST:PORT; empty if nothing is.
std::string why_no_server(const std::string& text);
// What is missing of the options for that server; empty if nothing is.
std::string why_not_enough(const std::string& server, const TlsClientOptions& options);

}  // namespace crab
