// SPDX-License-Identifier: Apache-2.0
#include "control/identity/channel.h"

#include <grpc/support/log.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <stdexcept>

#include "control/identity/pem.h"

namespace crab {
namespace {

namespace tls = grpc::experimental;

constexpr const char* kSpiffe = "spiffe://";

// The server's SPIFFE id instead of the host's name. The chain has been verified before.
class SpiffeVerifier final : public tls::ExternalCertificateVerifier {
 public:
  explicit SpiffeVerifier(std::string id) : id_(std::move(id)) {}

  bool Verify(tls::TlsCustomVerificationCheckRequest* request, std::function<void(grpc::Status)>,
              grpc::Status* status) override {
    const auto uris = request->uri_names();
    const bool is_it = uris.size() == 1 && uris.front() == id_;
    *status = is_it ? grpc::Status::OK
                    : grpc::Status(grpc::StatusCode::UNAUTHENTICATED,
                                   "the server's certificate is not for " + id_);
    return true;
  }
  void Cancel(tls::TlsCustomVerificationCheckRequest*) override {}

 private:
  const std::string id_;
};

std::shared_ptr<grpc::ChannelCredentials> credentials(const TlsClientOptions& options) {
  const KeyPair own = read_key_pair("--cert", options.certificate, "--key", options.key);
  if (const auto end = not_after(*own.chain.front()); end < std::chrono::system_clock::now()) {
    throw std::runtime_error("--cert: " + options.certificate + " has expired at " + in_utc(end) +
                             ": get a new certificate");
  }
  read_certificates("--ca", options.ca);
  const std::string ca = read_pem_file("--ca", options.ca);
  const std::string key = read_pem_file("--key", options.key);
  const std::string certificate = read_pem_file("--cert", options.certificate);
  if (!options.server_name.starts_with(kSpiffe)) {
    return grpc::SslCredentials({ca, key, certificate});
  }
  tls::TlsChannelCredentialsOptions tls_options;
  tls_options.set_certificate_provider(std::make_shared<tls::StaticDataCertificateProvider>(
      ca, std::vector<tls::IdentityKeyCertPair>{{key, certificate}}));
  tls_options.watch_root_certs();
  tls_options.watch_identity_key_cert_pairs();
  tls_options.set_certificate_verifier(
      tls::ExternalCertificateVerifier::Create<SpiffeVerifier>(options.server_name));
  tls_options.set_check_call_host(false);
  return tls::TlsCredentials(tls_options);
}

// As gRPC names it. Literals are not given to its resolver, which may know nothing of them.
std::string target_of(const TcpServer& server) {
  const bool is_v4_literal =
      !server.is_v6_literal && server.host.find_first_not_of("0123456789.") == std::string::npos;
  const char* scheme = server.is_v6_literal ? "ipv6:" : is_v4_literal ? "ipv4:" : "dns:///";
  return scheme + server.host_and_port();
}

}  // namespace

std::shared_ptr<grpc::Channel> make_channel(const std::string& server,
                                            const TlsClientOptions& options,
                                            grpc::ChannelArguments arguments) {
  const auto tcp = parse_tcp_server(server);
  if (!tcp) {
    return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  }
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  if (options.insecure) {
    return grpc::CreateCustomChannel(target_of(*tcp), grpc::InsecureChannelCredentials(),
                                     arguments);
  }
  if (!options.server_name.empty() && !options.server_name.starts_with(kSpiffe)) {
    arguments.SetSslTargetNameOverride(options.server_name);
  }
  return grpc::CreateCustomChannel(target_of(*tcp), credentials(options), arguments);
}

void quieten_grpc() {
  if (std::getenv("GRPC_VERBOSITY") == nullptr) gpr_set_log_function([](gpr_log_func_args*) {});
}

}  // namespace crab
