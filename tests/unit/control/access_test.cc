// SPDX-License-Identifier: Apache-2.0
// Who a caller is taken for and what that allows, against a real server: over Unix sockets as
// several users at once, over mTLS with certificates good and bad, and over plain TCP.
#include <arpa/inet.h>
#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/impl/client_unary_call.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <optional>
#include <thread>

#include "control/identity/api_methods.h"
#include "control/identity/channel.h"
#include "control/identity/connect_probe.h"
#include "crab/v1/access.grpc.pb.h"
#include "crab/v1/agent.grpc.pb.h"
#include "tests/unit/control/certificates.h"
#include "tests/unit/control/free_port.h"
#include "tests/unit/control/service_fixture.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uid_t kNobody = 65'534;
constexpr gid_t kStaff = 4'242;

void add_role(v1::Control* control, const std::string& identity, const std::string& method,
              const std::string& service) {
  v1::Role role;
  role.add_methods(method);
  role.add_services(service);
  (*control->mutable_roles())[identity] = role;
}

template <typename Stub, typename Request, typename Response>
Outcome call(const std::shared_ptr<grpc::Channel>& channel,
             grpc::Status (Stub::*rpc)(grpc::ClientContext*, const Request&, Response*),
             const Request& request, Response* response) {
  Stub stub(channel, {});
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  return outcome_of((stub.*rpc)(&context, request, response));
}

// Who the server says that we are, or the code if it does not.
std::string identity_over(const std::shared_ptr<grpc::Channel>& channel) {
  v1::GetCallerResponse response;
  const auto outcome =
      call(channel, &v1::AccessService::Stub::GetCaller, v1::GetCallerRequest(), &response);
  if (outcome.code == grpc::StatusCode::OK) return response.identity();
  return "code " + std::to_string(outcome.code) + " " + outcome.reason + " " + outcome.message;
}

Outcome list_backends_of(const std::shared_ptr<grpc::Channel>& channel,
                         const std::string& service) {
  v1::ListBackendsRequest request;
  request.set_service(service);
  v1::ListBackendsResponse response;
  return call(channel, &v1::BackendService::Stub::ListBackends, request, &response);
}

std::string health_over(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::health::v1::HealthCheckResponse response;
  const auto outcome = call(channel, &grpc::health::v1::Health::Stub::Check,
                            grpc::health::v1::HealthCheckRequest(), &response);
  if (outcome.code != grpc::StatusCode::OK) return "code " + std::to_string(outcome.code);
  return grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
}

// By an empty question, which is answered by an error inside the response.
bool has_reflection(const std::shared_ptr<grpc::Channel>& channel) {
  const std::string name = std::string("/") + kReflection;
  const grpc::internal::RpcMethod method(name.c_str(), grpc::internal::RpcMethod::NORMAL_RPC);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  v1::GetCallerResponse ignored;
  const auto status = grpc::internal::BlockingUnaryCall(channel.get(), method, &context,
                                                        v1::GetCallerRequest(), &ignored);
  EXPECT_TRUE(status.ok() || status.error_code() == grpc::StatusCode::UNIMPLEMENTED)
      << status.error_message();
  return status.ok();
}

v1::Config with_web(v1::Config config) {
  auto* web = config.add_services();
  web->set_name("web");
  web->set_address("10.0.0.100");
  web->set_port(80);
  return config;
}

// A connection made as another user. Linux's credentials are a thread's own, glibc's functions only
// set them for all threads: so these are raw calls in a thread that ends.
int connect_as(const std::string& path, uid_t uid, gid_t gid, const std::vector<gid_t>& groups) {
  int fd = -1;
  std::thread([&] {
    syscall(SYS_setgroups, groups.size(), groups.data());
    syscall(SYS_setresgid, -1, gid, -1);
    syscall(SYS_setresuid, -1, uid, -1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::copy(path.begin(), path.end(), address.sun_path);
    if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      close(fd);
      fd = -1;
    }
  }).join();
  return fd;
}

class UnixCallers : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "only root can be several users";
  }
  void start(v1::Config config) {
    server_.emplace(with_web(std::move(config)));
    server_->start();
    // As wide as it goes: roles alone decide here.
    namespace fs = std::filesystem;
    const auto all = fs::perms::all;
    fs::permissions(server_->socket().parent_path().parent_path(), all);
    fs::permissions(server_->socket().parent_path(), all);
    fs::permissions(server_->socket(), all);
  }
  std::shared_ptr<grpc::Channel> channel_as(uid_t uid, gid_t gid, std::vector<gid_t> groups = {}) {
    const int fd = connect_as(server_->socket(), uid, gid, groups);
    EXPECT_GE(fd, 0);
    // gRPC has its descriptors not block.
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return grpc::CreateInsecureChannelFromFd("crab", fd);
  }

  std::optional<TestServer> server_;
};

TEST_F(UnixCallers, TwoAtOnceAreToldApartInEveryCall) {
  v1::Config config;
  add_role(config.mutable_control(), "uid:0", "operator", "*");
  add_role(config.mutable_control(), "uid:65534", "viewer", "*");
  start(config);
  const auto root = channel_as(0, 0);
  const auto nobody = channel_as(kNobody, kNobody);
  std::vector<std::thread> threads;
  std::atomic<int> n_wrong = 0;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&, i] {
      for (int j = 0; j < 50; ++j) {
        const bool as_root = (i + j) % 2 == 0;
        if (identity_over(as_root ? root : nobody) != (as_root ? "uid:0" : "uid:65534")) ++n_wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(n_wrong, 0);

  v1::DeleteServiceRequest request;
  request.set_name("none");
  v1::DeleteServiceResponse response;
  const auto refused = call(nobody, &v1::ServiceAdmin::Stub::DeleteService, request, &response);
  EXPECT_EQ(refused.code, grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.reason, "ROLE_FORBIDS");
  EXPECT_EQ(refused.metadata.at("method"), "crab.v1.ServiceAdmin/DeleteService");
  EXPECT_EQ(refused.metadata.at("service"), "none");
  EXPECT_EQ(refused.metadata.at("identity"), "uid:65534");
  EXPECT_EQ(call(root, &v1::ServiceAdmin::Stub::DeleteService, request, &response).code,
            grpc::StatusCode::NOT_FOUND);
}

// A descriptor's number comes again with the next connection, and is another caller then.
TEST_F(UnixCallers, AReusedDescriptorIsItsNewOwners) {
  v1::Config config;
  add_role(config.mutable_control(), "uid:0", "operator", "*");
  add_role(config.mutable_control(), "uid:65534", "operator", "*");
  start(config);
  for (int i = 0; i < 40; ++i) {
    const uid_t uid = i % 2 == 0 ? 0 : kNobody;
    EXPECT_EQ(identity_over(channel_as(uid, uid)), "uid:" + std::to_string(uid));
  }
}

TEST_F(UnixCallers, GroupsCount) {
  v1::Config config;
  add_role(config.mutable_control(), "gid:4242", "viewer", "*");
  start(config);
  const auto member = channel_as(kNobody, kNobody, {7, kStaff});
  v1::GetCallerResponse response;
  ASSERT_EQ(
      call(member, &v1::AccessService::Stub::GetCaller, v1::GetCallerRequest(), &response).code,
      grpc::StatusCode::OK);
  EXPECT_THAT(response.identities(), ElementsAre("uid:65534", "gid:65534", "gid:7", "gid:4242"));
  EXPECT_THAT(identity_over(channel_as(kNobody, kStaff)), "uid:65534");
  EXPECT_THAT(identity_over(channel_as(kNobody, kNobody, {7})), HasSubstr("ROLE_FORBIDS"));
  EXPECT_THAT(identity_over(channel_as(0, 0)), HasSubstr("ROLE_FORBIDS"));
}

TEST_F(UnixCallers, WithoutRolesTheSocketsGroupMayDoAll) {
  start({});
  EXPECT_EQ(identity_over(channel_as(0, 0)), "uid:0");
  EXPECT_EQ(identity_over(channel_as(kNobody, getegid())), "uid:65534");
  EXPECT_EQ(identity_over(channel_as(kNobody, kNobody, {kStaff, getegid()})), "uid:65534");
  const auto stranger = channel_as(kNobody, kNobody, {kStaff});
  EXPECT_THAT(identity_over(stranger), HasSubstr("ROLE_FORBIDS"));
  EXPECT_EQ(list_backends_of(stranger, "web").code, grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(health_over(stranger), "SERVING");
  // A stream is refused too, and all of it is counted.
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  v1::AttachRequest request;
  request.set_agent("host-1");
  const auto stream = v1::AgentService::NewStub(stranger)->Attach(&context, request);
  v1::AttachResponse response;
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_EQ(outcome_of(stream->Finish()).reason, "ROLE_FORBIDS");
  v1::GetAccessResponse access;
  call(channel_as(0, 0), &v1::AccessService::Stub::GetAccess, v1::GetAccessRequest(), &access);
  std::map<std::string, std::uint64_t> denied;
  for (const auto& one : access.denied()) denied[one.method()] = one.calls();
  EXPECT_EQ(denied["crab.v1.AgentService/Attach"], 1u);
  EXPECT_EQ(denied["crab.v1.BackendService/ListBackends"], 1u);
  EXPECT_EQ(denied["crab.v1.AccessService/GetCaller"], 1u);
  EXPECT_EQ(access.listeners(0).security(), v1::ControlListener::SECURITY_PEER_CREDENTIALS);
  EXPECT_EQ(access.listeners(0).accepted_connections(), 5u);
}

TlsClientOptions plain() {
  TlsClientOptions options;
  options.insecure = true;
  return options;
}

class TcpCallers : public ::testing::TestWithParam<ServiceNet> {
 protected:
  static bool is_v6() { return std::string(GetParam().name) == "Ipv6"; }
  static std::string host() { return is_v6() ? "[::1]" : "127.0.0.1"; }

  TcpCallers() : address_("tcp:" + host() + ":" + std::to_string(free_port(is_v6(), SOCK_STREAM))) {
    put(authority_.issue({.common_name = "lb", .alternative_names = own_names()}));
    put_file(path("client-ca.pem"), authority_.pem());
    put_file(path("ca.pem"), authority_.pem());
  }

  static std::string own_names() {
    return is_v6() ? "IP:::1,DNS:lb.example.org" : "IP:127.0.0.1,DNS:lb.example.org";
  }
  std::string path(const std::string& name) const { return directory_.path() / name; }
  // As crab-lb's own.
  void put(const IssuedCertificate& issued) const {
    put_file(path("lb.key"), issued.key);
    put_file(path("lb.pem"), issued.certificate);
  }
  v1::Config mtls() const {
    v1::Config config;
    auto* control = config.mutable_control();
    control->add_listen(address_);
    control->mutable_tls()->set_certificate(path("lb.pem"));
    control->mutable_tls()->set_key(path("lb.key"));
    control->mutable_tls()->set_client_ca(path("client-ca.pem"));
    control->mutable_tls()->set_refresh_seconds(1);
    add_role(control, "spiffe://example.org/viewer", "viewer", "web");
    add_role(control, "spiffe://example.org/agent/*", "agent", "*");
    add_role(control, "dns:ops.example.org", "operator", "*");
    add_role(control, "uid:" + std::to_string(geteuid()), "operator", "*");
    return config;
  }
  void start(v1::Config config) {
    server_.emplace(with_web(std::move(config)));
    server_->start();
  }
  // A client's files.
  TlsClientOptions client(const IssuedCertificate& issued) {
    const std::string name = "client-" + std::to_string(n_clients_++);
    put_file(path(name + ".pem"), issued.certificate);
    put_file(path(name + ".key"), issued.key);
    return {.ca = path("ca.pem"),
            .certificate = path(name + ".pem"),
            .key = path(name + ".key"),
            .server_name = "",
            .insecure = false};
  }
  TlsClientOptions client_of(const std::string& names) {
    return client(authority_.issue({.alternative_names = names}));
  }
  std::shared_ptr<grpc::Channel> connect(const TlsClientOptions& options) const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return make_channel(address_, options, arguments);
  }
  std::shared_ptr<grpc::Channel> local() const {
    return grpc::CreateChannel(server_->listener(), grpc::InsecureChannelCredentials());
  }
  v1::GetAccessResponse access() const {
    v1::GetAccessResponse response;
    call(local(), &v1::AccessService::Stub::GetAccess, v1::GetAccessRequest(), &response);
    return response;
  }
  std::uint64_t n_refused(const std::string& reason) const {
    const auto response = access();
    for (const auto& one : response.listeners(0).refused()) {
      if (one.reason() == reason) return one.connections();
    }
    ADD_FAILURE() << "no reason " << reason;
    return 0;
  }
  std::string failure_of_start(const v1::Config& config) {
    try {
      start(config);
    } catch (const std::runtime_error& error) {
      return error.what();
    }
    return "";
  }

  TemporaryDirectory directory_;
  CertificateAuthority authority_{"Crab test authority"};
  const std::string address_;
  std::optional<TestServer> server_;
  int n_clients_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Both, TcpCallers, ::testing::ValuesIn(kServiceNets),
                         [](const auto& one) { return one.param.name; });

TEST_P(TcpCallers, ACertificatesNamesDecide) {
  start(mtls());
  const auto viewer = connect(client_of("URI:spiffe://example.org/viewer"));
  EXPECT_EQ(identity_over(viewer), "spiffe://example.org/viewer");
  EXPECT_EQ(list_backends_of(viewer, "web").code, grpc::StatusCode::OK);
  EXPECT_EQ(list_backends_of(viewer, "db").reason, "ROLE_FORBIDS");
  v1::RegisterBackendsRequest request;
  request.set_service("web");
  v1::RegisterBackendsResponse response;
  const auto refused =
      call(viewer, &v1::BackendService::Stub::RegisterBackends, request, &response);
  EXPECT_EQ(refused.code, grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(refused.metadata.at("identity"), "spiffe://example.org/viewer");
  EXPECT_EQ(refused.metadata.at("service"), "web");
  EXPECT_EQ(identity_over(connect(client_of("DNS:OPS.example.org,DNS:other.example.org"))),
            "dns:ops.example.org");
  EXPECT_EQ(identity_over(connect(client_of("URI:spiffe://example.org/agent/h1"))),
            "spiffe://example.org/agent/h1");
}

TEST_P(TcpCallers, WhoIsNotListedMayAskForHealthAlone) {
  start(mtls());
  const auto stranger = connect(client_of("URI:spiffe://example.org/stranger"));
  EXPECT_EQ(health_over(stranger), "SERVING");
  EXPECT_THAT(identity_over(stranger), HasSubstr("ROLE_FORBIDS"));
  // Two URIs make no SPIFFE id, whatever they say; and that is nobody.
  const auto two =
      connect(client_of("URI:spiffe://example.org/viewer,URI:spiffe://example.org/agent/a"));
  EXPECT_THAT(identity_over(two), HasSubstr("NOT_AUTHENTICATED"));
  // Neither sees what the API looks like: reflection is not theirs.
  EXPECT_FALSE(has_reflection(stranger));
  EXPECT_FALSE(has_reflection(two));
  EXPECT_TRUE(has_reflection(connect(client_of("URI:spiffe://example.org/viewer"))));
  EXPECT_TRUE(has_reflection(local()));
}

TEST_P(TcpCallers, BadCertificatesAreRefusedCountedAndExplained) {
  start(mtls());
  const std::string viewer = "URI:spiffe://example.org/viewer";
  CertificateAuthority other("Another authority");
  const auto foreign = client(other.issue({.alternative_names = viewer}));
  EXPECT_THAT(identity_over(connect(foreign)), HasSubstr("code 14"));
  EXPECT_GE(n_refused("untrusted"), 1u);
  EXPECT_THAT(why_unreachable(address_, foreign),
              HasSubstr("control.tls.client_ca has to have it"));

  const auto expired = client(authority_.issue(
      {.alternative_names = viewer, .valid_from_s = -7'200, .valid_until_s = -3'600}));
  EXPECT_THROW(connect(expired), std::runtime_error);
  EXPECT_THAT(why_unreachable(address_, expired),
              HasSubstr("finds our certificate (--cert) expired"));
  EXPECT_GE(n_refused("expired"), 1u);

  const auto for_servers =
      client(authority_.issue({.alternative_names = viewer, .usage = "serverAuth"}));
  EXPECT_THAT(identity_over(connect(for_servers)), HasSubstr("code 14"));

  // No certificate at all.
  const auto bare =
      grpc::CreateChannel("ipv" + std::string(is_v6() ? "6:" : "4:") + address_.substr(4),
                          grpc::SslCredentials({authority_.pem(), "", ""}));
  EXPECT_THAT(identity_over(bare), HasSubstr("code 14"));
  EXPECT_GE(n_refused("no_certificate"), 1u);

  // No TLS.
  EXPECT_THAT(identity_over(connect(plain())), HasSubstr("code 14"));
  EXPECT_GE(n_refused("no_tls"), 1u);
  // And none of it hurts who is good.
  EXPECT_EQ(identity_over(connect(client_of(viewer))), "spiffe://example.org/viewer");
}

TEST_P(TcpCallers, AClientSaysWhatIsWrongWithTheServer) {
  start(mtls());
  auto options = client_of("URI:spiffe://example.org/viewer");
  EXPECT_EQ(why_unreachable(address_, options), "");
  options.server_name = "other.example.org";
  EXPECT_THAT(identity_over(connect(options)), HasSubstr("code 14"));
  EXPECT_THAT(why_unreachable(address_, options), HasSubstr("and not for other.example.org"));
  options.server_name = "lb.example.org";
  EXPECT_EQ(identity_over(connect(options)), "spiffe://example.org/viewer");
  options.server_name = "";
  CertificateAuthority other("Another authority");
  put_file(path("ca.pem"), other.pem());
  EXPECT_THAT(identity_over(connect(options)), HasSubstr("code 14"));
  EXPECT_THAT(why_unreachable(address_, options), HasSubstr("is signed by nobody in"));
  const auto gone = address_;
  server_->stop();
  EXPECT_THAT(why_unreachable(gone, options), HasSubstr("Connection refused; is crab-lb running"));
}

TEST_P(TcpCallers, AServerMayBeKnownByItsSpiffeIdAlone) {
  put(authority_.issue({.alternative_names = "URI:spiffe://example.org/lb"}));
  start(mtls());
  auto options = client_of("URI:spiffe://example.org/viewer");
  options.server_name = "spiffe://example.org/lb";
  EXPECT_EQ(identity_over(connect(options)), "spiffe://example.org/viewer");
  options.server_name = "spiffe://example.org/lb2";
  EXPECT_THAT(identity_over(connect(options)), HasSubstr("code 14"));
  EXPECT_THAT(why_unreachable(address_, options),
              HasSubstr("and not for spiffe://example.org/lb2"));
}

TEST_P(TcpCallers, CertificatesRotateUnderAStream) {
  start(mtls());
  const auto agent = connect(client_of("URI:spiffe://example.org/agent/h1"));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(2));
  v1::AttachRequest attach;
  attach.set_agent("h1");
  const auto stream = v1::AgentService::NewStub(agent)->Attach(&context, attach);
  v1::AttachResponse told;
  ASSERT_TRUE(stream->Read(&told));

  const auto before = client_of("URI:spiffe://example.org/viewer");
  CertificateAuthority next("The next authority");
  put_file(path("client-ca.pem"), next.pem());
  put(next.issue({.common_name = "lb", .alternative_names = own_names()}));
  ASSERT_TRUE(eventually([&] { return access().certificate().reloads() >= 1; }));
  put_file(path("ca.pem"), next.pem());
  ASSERT_TRUE(eventually([&] {
    const auto now = client(next.issue({.alternative_names = "URI:spiffe://example.org/viewer"}));
    return identity_over(connect(now)) == "spiffe://example.org/viewer";
  }));
  EXPECT_THAT(identity_over(connect(before)), HasSubstr("code 14"));

  // The stream that was there is there still.
  v1::CreateServiceRequest create;
  create.mutable_service()->set_name("more");
  create.mutable_service()->set_address("10.0.0.101");
  create.mutable_service()->set_port(80);
  v1::CreateServiceResponse created;
  ASSERT_EQ(call(local(), &v1::ServiceAdmin::Stub::CreateService, create, &created).code,
            grpc::StatusCode::OK);
  ASSERT_TRUE(stream->Read(&told));
  EXPECT_EQ(told.services_size(), 2);
  context.TryCancel();
  while (stream->Read(&told)) continue;
  stream->Finish();
}

TEST_P(TcpCallers, ABadPairLeavesTheOldOneInForce) {
  start(mtls());
  const auto options = client_of("URI:spiffe://example.org/viewer");
  const auto other = authority_.issue({.common_name = "lb", .alternative_names = own_names()});
  put_file(path("lb.key"), other.key);
  ASSERT_TRUE(eventually([&] { return access().certificate().failed_reloads() == 1; }));
  EXPECT_THAT(access().certificate().last_error(), HasSubstr("control.tls.key: "));
  EXPECT_THAT(access().certificate().last_error(), HasSubstr("is not the key of the certificate"));
  EXPECT_EQ(identity_over(connect(options)), "spiffe://example.org/viewer");

  put_file(path("lb.pem"), "-----BEGIN CERTIFICATE-----\nrubbish\n-----END CERTIFICATE-----\n");
  ASSERT_TRUE(eventually([&] { return access().certificate().failed_reloads() == 2; }));
  EXPECT_EQ(identity_over(connect(options)), "spiffe://example.org/viewer");

  put(authority_.issue({.common_name = "lb",
                        .alternative_names = own_names(),
                        .valid_from_s = -7'200,
                        .valid_until_s = -3'600}));
  ASSERT_TRUE(eventually(
      [&] { return access().certificate().last_error().find("expired") != std::string::npos; }));
  EXPECT_EQ(identity_over(connect(options)), "spiffe://example.org/viewer");

  put(other);
  ASSERT_TRUE(eventually([&] { return access().certificate().last_error().empty(); }));
  EXPECT_GE(access().certificate().reloads(), 1u);
  EXPECT_EQ(identity_over(connect(options)), "spiffe://example.org/viewer");
}

TEST_P(TcpCallers, WhatIsWrongWithTheFilesEndsTheStart) {
  const auto config = mtls();
  const auto good = authority_.issue({.common_name = "lb", .alternative_names = own_names()});
  std::filesystem::remove(path("lb.key"));
  EXPECT_EQ(failure_of_start(config),
            "control.tls.key: " + path("lb.key") + " cannot be read: No such file or directory");
  put_file(path("lb.key"), good.key);
  EXPECT_EQ(failure_of_start(config), "control.tls.key: " + path("lb.key") +
                                          " is not the key of the certificate in " +
                                          path("lb.pem"));
  put_file(path("lb.key"), "nothing");
  EXPECT_THAT(failure_of_start(config), HasSubstr("holds no private key in PEM"));
  put(good);
  put_file(path("client-ca.pem"), "nothing");
  EXPECT_EQ(failure_of_start(config),
            "control.tls.client_ca: " + path("client-ca.pem") + " holds no certificate in PEM");
  put_file(path("client-ca.pem"), authority_.pem());
  put(authority_.issue({.alternative_names = own_names(), .usage = "clientAuth"}));
  EXPECT_THAT(failure_of_start(config), HasSubstr("is not for servers"));
  put(good);
  EXPECT_EQ(failure_of_start(config), "");
}

TEST_P(TcpCallers, WithoutTlsEverybodyIsAnonymous) {
  v1::Config config;
  config.mutable_control()->add_listen(address_);
  config.mutable_control()->set_insecure(true);
  add_role(config.mutable_control(), "anonymous", "viewer", "web");
  add_role(config.mutable_control(), "uid:" + std::to_string(geteuid()), "operator", "*");
  start(config);
  const auto channel = connect(plain());
  EXPECT_EQ(identity_over(channel), "anonymous");
  EXPECT_EQ(list_backends_of(channel, "web").code, grpc::StatusCode::OK);
  const auto refused = list_backends_of(channel, "db");
  EXPECT_EQ(refused.code, grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(refused.reason, "NOT_AUTHENTICATED");
  const auto response = access();
  EXPECT_EQ(response.listeners(0).security(), v1::ControlListener::SECURITY_INSECURE);
  EXPECT_EQ(response.listeners(1).security(), v1::ControlListener::SECURITY_PEER_CREDENTIALS);
  EXPECT_FALSE(response.has_certificate());
}

}  // namespace
}  // namespace crab
