// SPDX-License-Identifier: Apache-2.0
#include "control/identity/server_options.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

namespace crab {

void add_tls_options(CLI::App* app, TlsClientOptions* options) {
  app->add_option("--ca", options->ca, "tcp: certificates of those who sign crab-lb's, in PEM")
      ->envname("CRAB_CA");
  app->add_option("--cert", options->certificate, "tcp: the certificate to show, in PEM")
      ->envname("CRAB_CERT");
  app->add_option("--key", options->key, "tcp: its key")->envname("CRAB_KEY");
  app->add_option("--server-name", options->server_name,
                  "tcp: whom crab-lb's certificate is for, a DNS name or spiffe://..., if not HOST")
      ->envname("CRAB_SERVER_NAME");
  app->add_flag("--insecure", options->insecure,
                "tcp: without encryption, for a crab-lb with control.insecure");
}

std::string TcpServer::host_and_port() const {
  return (is_v6_literal ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

std::optional<TcpServer> parse_tcp_server(const std::string& text) {
  constexpr std::string_view kTcp = "tcp:";
  const auto colon = text.rfind(':');
  if (!text.starts_with(kTcp) || colon < kTcp.size()) return std::nullopt;
  TcpServer server;
  server.host = text.substr(kTcp.size(), colon - kTcp.size());
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data() + colon + 1, end, server.port);
  if (error != std::errc() || rest != end || server.port == 0) return std::nullopt;
  if (server.host.size() > 2 && server.host.front() == '[' && server.host.back() == ']') {
    server.host = server.host.substr(1, server.host.size() - 2);
    server.is_v6_literal = true;
  }
  const bool has_colon = server.host.find(':') != std::string::npos;
  const bool shaped = std::all_of(server.host.begin(), server.host.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
           c == '-' || c == '_' || c == ':' || c == '%';
  });
  if (server.host.empty() || has_colon != server.is_v6_literal || !shaped) return std::nullopt;
  return server;
}

std::string why_no_server(const std::string& text) {
  if (text.starts_with("unix:/") && !text.starts_with("unix://")) return "";
  if (parse_tcp_server(text)) return "";
  return "'" + text + "' is neither unix:/PATH nor tcp:HOST:PORT";
}

std::string why_not_enough(const std::string& server, const TlsClientOptions& options) {
  if (!parse_tcp_server(server) || options.insecure) return "";
  std::string missing;
  const auto need = [&](const std::string& value, const char* name) {
    if (value.empty()) missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  need(options.ca, "--ca");
  need(options.certificate, "--cert");
  need(options.key, "--key");
  if (missing.empty()) return "";
  return server + " needs " + missing +
         " (or CRAB_CA, CRAB_CERT, CRAB_KEY); --insecure is for a crab-lb with control.insecure";
}

}  // namespace crab
