// SPDX-License-Identifier: Apache-2.0
// Roles: which identity may call what, as a table; and what a configuration may say of it.
#include "control/identity/roles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include "control/identity/server_options.h"
#include "control/listen_address.h"
#include "control/validate.h"
#include "control/yaml_message.h"
#include "crab/v1/access.pb.h"
#include "crab/v1/control.pb.h"

namespace crab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

v1::Control control_of(const std::string& yaml) {
  v1::Control control;
  FieldLines lines;
  EXPECT_THAT(read_yaml(YAML::Load(yaml), &control, &lines), IsEmpty());
  return control;
}

Caller caller_of(std::vector<std::string> identities) {
  return {
      .identity = identities.front(), .identities = identities, .is_local_administrator = false};
}

constexpr const char* kRegister = "crab.v1.BackendService/RegisterBackends";
constexpr const char* kList = "crab.v1.BackendService/ListBackends";
constexpr const char* kStats = "crab.v1.StatsService/GetStats";
constexpr const char* kDelete = "crab.v1.ServiceAdmin/DeleteService";
constexpr const char* kAttach = "crab.v1.AgentService/Attach";
constexpr const char* kNone = nullptr;  // about no service

constexpr const char* kRoles = R"(
roles:
  "spiffe://example.org/autoscaler": { methods: [autoscaler], services: [web, web6] }
  "spiffe://example.org/agent/*": { methods: [agent], services: ["*"] }
  "spiffe://example.org/team-*": { methods: [viewer], services: [web] }
  "dns:ops.example.org": { methods: [operator], services: ["*"] }
  "cn:legacy": { methods: [BackendService.RegisterBackends], services: [web] }
  "uid:0": { methods: ["BackendService.*", "crab.v1.ServiceAdmin/DeleteService"], services: ["*"] }
  "gid:42": { methods: [viewer], services: ["*"] }
  "user:root": { methods: [StatsService.GetStats], services: ["*"] }
  "anonymous": { methods: [StatsService.GetStats], services: ["*"] }
)";

struct RoleCase {
  const char* name;
  std::vector<std::string> identities;
  const char* method;
  const char* service;
  bool allowed;
};

const RoleCase kCases[] = {
    {"Exact", {"spiffe://example.org/autoscaler"}, kRegister, "web", true},
    {"OtherService", {"spiffe://example.org/autoscaler"}, kRegister, "db", false},
    {"AllServicesWithoutStar", {"spiffe://example.org/autoscaler"}, kList, "", false},
    {"NoService", {"spiffe://example.org/autoscaler"}, kStats, kNone, true},
    {"OtherMethod", {"spiffe://example.org/autoscaler"}, kDelete, "web", false},
    {"LongerPath", {"spiffe://example.org/autoscaler/x"}, kRegister, "web", false},
    {"ShorterPath", {"spiffe://example.org/autoscale"}, kRegister, "web", false},
    {"OtherDomain", {"spiffe://example.com/autoscaler"}, kRegister, "web", false},
    {"Wildcard", {"spiffe://example.org/agent/host-1"}, kAttach, kNone, true},
    {"WildcardDeep", {"spiffe://example.org/agent/a/b"}, kAttach, kNone, true},
    {"WildcardNeedsItsSlash", {"spiffe://example.org/agentx"}, kAttach, kNone, false},
    {"WildcardInWord", {"spiffe://example.org/team-a"}, kList, "web", true},
    {"ViewerMayNotChange", {"spiffe://example.org/team-a"}, kRegister, "web", false},
    {"AgentMayNotList", {"spiffe://example.org/agent/host-1"}, kList, "web", false},
    {"Dns", {"dns:ops.example.org"}, kDelete, "web", true},
    {"OperatorReflects", {"dns:ops.example.org"}, kReflection, kNone, true},
    {"SecondIdentity", {"spiffe://example.org/x", "dns:ops.example.org"}, kDelete, "web", true},
    {"CommonName", {"cn:legacy"}, kRegister, "web", true},
    {"CommonNameIsNoDns", {"cn:ops.example.org"}, kDelete, "web", false},
    {"ServiceStar", {"uid:0", "gid:0"}, kRegister, "web", true},
    {"FullName", {"uid:0", "gid:0"}, kDelete, "web", true},
    {"RootIsUidZero", {"uid:0", "gid:0"}, kStats, kNone, true},
    {"NotListed", {"uid:0", "gid:0"}, kAttach, kNone, false},
    {"Group", {"uid:1000", "gid:1000", "gid:42"}, kList, "web", true},
    {"NobodyListed", {"uid:1000", "gid:1000"}, kList, "web", false},
    {"UidIsNoGid", {"uid:42"}, kList, "web", false},
    {"Anonymous", {"anonymous"}, kStats, kNone, true},
    {"AnonymousElsewhere", {"anonymous"}, kList, "web", false},
};

class RolesTest : public ::testing::TestWithParam<RoleCase> {};
INSTANTIATE_TEST_SUITE_P(Table, RolesTest, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return one.param.name; });

TEST_P(RolesTest, AllowOrForbid) {
  const RoleCase& one = GetParam();
  const Authorizer authorizer(control_of(kRoles));
  std::optional<std::string_view> service;
  if (one.service != nullptr) service = one.service;
  const auto failure = authorizer.check(caller_of(one.identities), one.method, service);
  EXPECT_EQ(!failure, one.allowed);
  if (!failure) return;
  const bool anonymous = one.identities.front() == kAnonymous;
  EXPECT_EQ(failure->reason, anonymous ? "NOT_AUTHENTICATED" : "ROLE_FORBIDS");
  EXPECT_EQ(failure->code,
            anonymous ? FailureCode::Unauthenticated : FailureCode::PermissionDenied);
  EXPECT_EQ(failure->metadata.at("method"), one.method);
  EXPECT_EQ(failure->metadata.at("identity"), one.identities.front());
  EXPECT_EQ(failure->metadata.contains("service"), one.service != nullptr);
}

TEST(Roles, WithoutAMapLocalAdministratorsMayDoAllAndOthersNothing) {
  const Authorizer authorizer{v1::Control()};
  Caller local = caller_of({"uid:1000"});
  EXPECT_TRUE(authorizer.check(local, kStats, std::nullopt));
  local.is_local_administrator = true;
  for (const auto& method : api_methods()) EXPECT_FALSE(authorizer.check(local, method, "web"));
  for (const auto& method : api_methods()) {
    EXPECT_TRUE(authorizer.check(caller_of({"spiffe://example.org/a"}), method, std::nullopt));
    EXPECT_TRUE(authorizer.check(Caller{}, method, std::nullopt));
  }
}

TEST(Roles, AMapIsAllThereIs) {
  const Authorizer authorizer(
      control_of("roles: { 'gid:7': { methods: [viewer], services: ['*'] } }"));
  Caller root = caller_of({"uid:0"});
  root.is_local_administrator = true;
  EXPECT_TRUE(authorizer.check(root, kStats, std::nullopt));
}

TEST(Roles, AnUnknownUserEndsTheStart) {
  const auto control =
      control_of("roles: { 'user:no-such-user': { methods: [viewer], services: ['*'] } }");
  try {
    const Authorizer authorizer(control);
    FAIL() << "there is such a user";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), HasSubstr("control.roles.user:no-such-user"));
  }
}

// A bundle that reads must stay one when rpcs are added.
TEST(Roles, ViewersReachNothingThatChanges) {
  for (const auto& method : expand_methods("viewer")) {
    const auto rpc = method.substr(method.find('/') + 1);
    for (const char* verb : {"Create", "Delete", "Register", "Deregister", "Set", "Update",
                             "Replace", "Drain", "Attach", "Grant", "Revoke", "Reload"}) {
      EXPECT_FALSE(rpc.starts_with(verb)) << method;
    }
  }
  EXPECT_TRUE(expand_methods("operator") == api_methods());
  EXPECT_GE(api_methods().size(), 12u);
}

TEST(Roles, FindTheServicesOfARequest) {
  v1::RegisterBackendsRequest put;
  EXPECT_THAT(services_of(put), ElementsAre(""));
  put.set_service("web");
  EXPECT_THAT(services_of(put), ElementsAre("web"));
  v1::CreateServiceRequest create;
  EXPECT_THAT(services_of(create), ElementsAre(""));
  create.mutable_service()->set_name("web");
  EXPECT_THAT(services_of(create), ElementsAre("web"));
  v1::DeleteServiceRequest remove;
  remove.set_name("web");
  EXPECT_THAT(services_of(remove), ElementsAre("web"));
  EXPECT_THAT(services_of(v1::ListServicesRequest()), IsEmpty());
  EXPECT_THAT(services_of(v1::GetCallerRequest()), IsEmpty());
}

struct BadControl {
  const char* name;
  const char* yaml;
  const char* field;
  const char* why;
};

const BadControl kBadControls[] = {
    {"TcpWithoutTls", "listen: ['tcp:10.0.0.2:7470']", "control.listen[0]", "needs control.tls"},
    {"TcpWithoutPort", "listen: ['tcp:10.0.0.2']", "control.listen[0]", "neither unix:/PATH"},
    {"TcpName", "listen: ['tcp:localhost:1']", "control.listen[0]", "neither unix:/PATH"},
    {"TcpV6WithoutBrackets", "listen: ['tcp:::1:70']", "control.listen[0]", "neither unix:/PATH"},
    {"TcpTwice", "{ listen: ['tcp:[::1]:7', 'tcp:[0:0::1]:7'], insecure: true }",
     "control.listen[1]", "the same socket again"},
    {"TlsAndInsecure",
     "{ listen: ['tcp:[::1]:7'], insecure: true, tls: { certificate: /a, key: /b, client_ca: /c } "
     "}",
     "control.insecure", "excludes"},
    {"InsecureForNothing", "insecure: true", "control.insecure", "no tcp: listener"},
    {"TlsWithoutKey", "tls: { certificate: /a, client_ca: /c }", "control.tls.key", "is missing"},
    {"TlsWithoutCertificate", "tls: { key: /a, client_ca: /c }", "control.tls.certificate",
     "is missing"},
    {"TlsWithoutAuthority", "tls: { certificate: /a, key: /c }", "control.tls.client_ca",
     "is missing"},
    {"TlsRelative", "tls: { certificate: a, key: /b, client_ca: /c }", "control.tls.certificate",
     "no absolute path"},
    {"TlsRefresh", "tls: { certificate: /a, key: /b, client_ca: /c, refresh_seconds: 86401 }",
     "control.tls.refresh_seconds", "1 to 86400"},
    {"RoleUnknownKind", "roles: { 'ip:10.0.0.1': { methods: [viewer], services: ['*'] } }",
     "control.roles.ip:10.0.0.1", "none of spiffe"},
    {"RoleStarInDomain", "roles: { 'spiffe://a*': { methods: [viewer], services: ['*'] } }",
     "control.roles.spiffe://a*", "trust domain"},
    {"RoleStarInside", "roles: { 'spiffe://a/*/b': { methods: [viewer], services: ['*'] } }",
     "control.roles.spiffe://a/*/b", "only at its end"},
    {"RoleStarElsewhere", "roles: { 'dns:*': { methods: [viewer], services: ['*'] } }",
     "control.roles.dns:*", "which only spiffe"},
    {"RoleUidName", "roles: { 'uid:root': { methods: [viewer], services: ['*'] } }",
     "control.roles.uid:root", "decimal number"},
    {"RoleUnknownMethod",
     "roles: { 'uid:1': { methods: [BackendService.Regster], services: ['*'] } }",
     "control.roles.uid:1.methods[0]", "BackendService.RegisterBackends"},
    {"RoleWithoutServices", "roles: { 'uid:1': { methods: [viewer] } }",
     "control.roles.uid:1.services", "'*' is for all"},
    {"RoleWithoutMethods", "roles: { 'uid:1': { services: ['*'] } }", "control.roles.uid:1.methods",
     "names none"},
    {"RoleBadService", "roles: { 'uid:1': { methods: [viewer], services: [web, 'a b'] } }",
     "control.roles.uid:1.services[1]", "lower-case"},
};

class BadControlTest : public ::testing::TestWithParam<BadControl> {};
INSTANTIATE_TEST_SUITE_P(Table, BadControlTest, ::testing::ValuesIn(kBadControls),
                         [](const auto& one) { return one.param.name; });

TEST_P(BadControlTest, IsRefusedWithItsField) {
  const auto errors = validate_control(control_of(GetParam().yaml));
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(errors[0].field, GetParam().field);
  EXPECT_THAT(errors[0].why, HasSubstr(GetParam().why));
}

TEST(ValidateControl, TakesWhatIsRight) {
  EXPECT_THAT(validate_control(control_of(kRoles)), IsEmpty());
  EXPECT_THAT(validate_control(control_of(
                  "{ listen: ['unix:/run/a', 'tcp:10.0.0.2:7470', 'tcp:[fd00::2]:7470'], tls: { "
                  "certificate: /a, key: /b, client_ca: /c } }")),
              IsEmpty());
  EXPECT_THAT(validate_control(control_of("{ listen: ['tcp:[::1]:7'], insecure: true }")),
              IsEmpty());
}

TEST(ServerOptions, SayWhatIsWrong) {
  for (const char* good : {"unix:/run/crab/control.sock", "tcp:lb1:7470", "tcp:10.0.0.2:7470",
                           "tcp:[fd00::2]:7470", "tcp:lb-1.example.org:1"}) {
    EXPECT_EQ(why_no_server(good), "") << good;
  }
  for (const char* bad :
       {"", "lb1:7470", "tcp:lb1", "tcp::7470", "tcp:fd00::2:7470", "tcp:lb1:0", "tcp:lb1:65536",
        "unix:control.sock", "tcp:[10.0.0.2]:7470", "https://lb1"}) {
    EXPECT_NE(why_no_server(bad), "") << bad;
  }
  TlsClientOptions options;
  EXPECT_EQ(why_not_enough("unix:/run/crab/control.sock", options), "");
  EXPECT_THAT(why_not_enough("tcp:lb1:7470", options), HasSubstr("--ca, --cert, --key"));
  options.ca = "ca.pem";
  options.certificate = "c.pem";
  EXPECT_THAT(why_not_enough("tcp:lb1:7470", options), HasSubstr("needs --key"));
  options.key = "c.key";
  EXPECT_EQ(why_not_enough("tcp:lb1:7470", options), "");
  options = {};
  options.insecure = true;
  EXPECT_EQ(why_not_enough("tcp:lb1:7470", options), "");
}

}  // namespace
}  // namespace crab
