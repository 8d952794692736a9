// SPDX-License-Identifier: Apache-2.0
#include "control/ctl/access_commands.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>

#include "control/identity/pem.h"
#include "crab/v1/access.grpc.pb.h"

namespace crab {
namespace {

using v1::AccessService;
using v1::ControlListener;

constexpr const char* kRed = "\x1b[1;31m";
constexpr const char* kPlain = "\x1b[0m";
constexpr double kWarnSeconds = 14 * 86'400.0;

std::string alarm(const std::string& text, bool colours) {
  return colours ? kRed + text + kPlain : text;
}

std::string security_of(const ControlListener& listener, bool colours) {
  switch (listener.security()) {
    case ControlListener::SECURITY_PEER_CREDENTIALS:
      return "peer credentials";
    case ControlListener::SECURITY_MTLS:
      return "mTLS";
    case ControlListener::SECURITY_INSECURE:
      return alarm("INSECURE: anybody, without encryption", colours);
    default:
      return "unknown to this crabctl";
  }
}

std::string certificate_text(const v1::ServerCertificate& certificate, bool colours) {
  const auto date = [](std::int64_t seconds) {
    return in_utc(std::chrono::system_clock::time_point(std::chrono::seconds(seconds)));
  };
  std::string text = "certificate " + certificate.name() + ", until " +
                     date(certificate.not_after_unix_seconds()) + "; clients' authorities until " +
                     date(certificate.client_ca_not_after_unix_seconds()) + "\n";
  const double left = certificate.expires_in_seconds();
  if (left < 0) {
    text += alarm("ALARM: a certificate has EXPIRED: nobody can connect by TCP", colours) + "\n";
  } else if (left < kWarnSeconds) {
    text += alarm("WARNING: a certificate expires in " +
                      std::to_string(static_cast<long>(left / 86'400)) + " days and " +
                      std::to_string(static_cast<long>(left) % 86'400 / 3'600) + " hours",
                  colours) +
            "\n";
  }
  if (!certificate.last_error().empty()) {
    text +=
        alarm("ALARM: the newest files are not in force: " + certificate.last_error(), colours) +
        "\n";
  }
  return text;
}

void status(const Options& options) {
  const auto access =
      connect(options).call(&AccessService::Stub::GetAccess, v1::GetAccessRequest());
  print(options, access, access_text(access, isatty(STDOUT_FILENO) == 1));
}

void whoami(const Options& options) {
  const auto caller =
      connect(options).call(&AccessService::Stub::GetCaller, v1::GetCallerRequest());
  std::string text = caller.identity() + "\n";
  for (int i = 1; i < caller.identities_size(); ++i) text += "  " + caller.identities(i) + "\n";
  print(options, caller, text);
}

}  // namespace

std::string access_text(const v1::GetAccessResponse& access, bool colours) {
  std::string text;
  for (const auto& listener : access.listeners()) {
    text += listener.address() + ": " + security_of(listener, colours) + "; " +
            std::to_string(listener.accepted_connections()) + " connections accepted\n";
    for (const auto& refused : listener.refused()) {
      if (refused.connections() == 0) continue;
      text +=
          "  refused, " + refused.reason() + ": " + std::to_string(refused.connections()) + "\n";
    }
  }
  if (access.has_certificate()) text += certificate_text(access.certificate(), colours);
  for (const auto& denied : access.denied()) {
    text += "denied " + denied.method() + ", " + denied.reason() + ": " +
            std::to_string(denied.calls()) + "\n";
  }
  return text;
}

void add_access_commands(CLI::App* app, Options* options) {
  auto* status_command =
      app->add_subcommand("status", "shows how crab-lb is reached, and what it refused");
  status_command->footer("Example:\n  crabctl status");
  status_command->callback([options] { status(*options); });
  auto* whoami_command = app->add_subcommand("whoami", "shows who crab-lb takes the caller for");
  whoami_command->footer("Example:\n  crabctl whoami");
  whoami_command->callback([options] { whoami(*options); });
}

}  // namespace crab
