// SPDX-License-Identifier: Apache-2.0
// crabctl as a process against a real server: what it prints, and how it ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

#include "tests/unit/control/test_server.h"

namespace crab {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

struct Finished {
  int status = -1;
  std::string out;  // and standard error
};

// Lines with the key have the word ANY for their value.
std::string without_values(std::string text, const std::string& key) {
  for (auto at = text.find(key); at != std::string::npos; at = text.find(key, at + key.size())) {
    at += key.size();
    text.replace(at, text.find('\n', at) - at, "ANY");
  }
  return text;
}

class CrabctlTest : public ::testing::Test {
 protected:
  CrabctlTest() {
    server_.start();
    web_ =
        ctl("service create web --address 10.0.0.100 --port 80 --policy random "
            "--backend b1=10.0.1.1:8080 --backend b10=10.0.1.10:80,weight=30");
    web6_ = ctl("service create web6 --address fd00::100 --port 443 --backend b1=[fd00:1::1]:8443");
  }

  Finished run(const std::string& words) {
    const char* crabctl = std::getenv("CRABCTL");
    if (crabctl == nullptr) throw std::runtime_error("CRABCTL does not name the program");
    FILE* pipe = popen((std::string(crabctl) + " " + words + " 2>&1").c_str(), "r");
    Finished result;
    std::array<char, 4096> chunk;
    for (std::size_t n; (n = std::fread(chunk.data(), 1, chunk.size(), pipe)) > 0;) {
      result.out.append(chunk.data(), n);
    }
    result.status = WEXITSTATUS(pclose(pipe));
    return result;
  }
  Finished ctl(const std::string& words) {
    return run("--server " + server_.listener() + " " + words);
  }
  // All of the configured backends become eligible by themselves.
  void wait_healthy() {
    ASSERT_TRUE(eventually([&] {
      return ctl("backend list web").out.find("initial") == std::string::npos &&
             ctl("backend list web6").out.find("initial") == std::string::npos;
    }));
  }

  TestServer server_;
  Finished web_;
  Finished web6_;
};

TEST_F(CrabctlTest, CreatesServices) {
  EXPECT_EQ(web_.status, 0);
  EXPECT_THAT(web_.out, MatchesRegex("service web is in place \\(revision [0-9]+\\)\n"));
  EXPECT_EQ(web6_.status, 0);
}

TEST_F(CrabctlTest, TablesAreAlignedAndNumbersStandToTheRight) {
  wait_healthy();
  const Finished list = ctl("backend list web");
  EXPECT_EQ(list.status, 0);
  EXPECT_EQ(
      list.out,
      "ID   ADDRESS    PORT  WEIGHT  STATE    NEXT HOP           CONNECTIONS  LOAD FROM  OPEN  "
      "UNCONFIRMED  REPORT AGE  OWNER  REASON\n"
      "b1   10.0.1.1   8080       1  healthy  02:00:00:00:00:01            0  assigned      -  "
      "          0           -  api    -\n"
      "b10  10.0.1.10    80      30  healthy  02:00:00:00:00:0a            0  assigned      -  "
      "          0           -  api    -\n");
  EXPECT_EQ(
      ctl("service list").out,
      "NAME  ADDRESS     PORT  POLICY       OWNER  BACKENDS  ELIGIBLE  CONNECTIONS  REFUSED\n"
      "web   10.0.0.100    80  random       api           2         2            0        0\n"
      "web6  fd00::100    443  round_robin  api           1         1            0        0\n");
}

TEST_F(CrabctlTest, ShowsAServiceInEveryFormat) {
  wait_healthy();
  const Finished table = ctl("service show web6");
  EXPECT_THAT(table.out, HasSubstr("address      fd00::100\n"));
  EXPECT_THAT(table.out, HasSubstr("b1  fd00:1::1  8443"));
  const std::string yaml = ctl("service show web6 -o yaml").out;
  EXPECT_THAT(yaml, ContainsRegex("since: 20[0-9-]+T[0-9:.]+Z\n"));
  EXPECT_EQ(without_values(without_values(yaml, "since: "), "etag: "),
            "name: web6\n"
            "address: fd00::100\n"
            "port: 443\n"
            "policy:\n"
            "  name: round_robin\n"
            "backends:\n"
            "  - id: b1\n"
            "    address: fd00:1::1\n"
            "    port: 8443\n"
            "    weight: 1\n"
            "    status:\n"
            "      state: healthy\n"
            "      reason: \"\"\n"
            "      next_hop_mac: 02:00:00:00:00:01\n"
            "      assigned_connections: 0\n"
            "      load:\n"
            "        source: assigned\n"
            "        open: 0\n"
            "        unconfirmed: 0\n"
            "        accepted_own: 0\n"
            "        accepted_total: 0\n"
            "        closed_total: 0\n"
            "        written_off: 0\n"
            "      weight_percent: 100\n"
            "      since: ANY\n"
            "      eligible: true\n"
            "    owner: api\n"
            "    lease_id: \"\"\n"
            "    etag: ANY\n"
            "option_form: crab\n"
            "announce: arp\n"
            "owner: api\n"
            "load_signal:\n"
            "  source: agent\n"
            "  metric: \"\"\n"
            "  port: 0\n"
            "  interval_ms: 0\n"
            "min_healthy_percent: 0\n"
            "etag: ANY\n"
            "max_expiry_percent: 50\n");
  const Finished json = ctl("-o json service show web6");
  EXPECT_EQ(json.status, 0);
  EXPECT_THAT(json.out, HasSubstr("\"state\": \"BACKEND_STATE_HEALTHY\""));
  EXPECT_THAT(json.out, HasSubstr("\"next_hop_mac\": \"02:00:00:00:00:01\""));
}

TEST_F(CrabctlTest, RegistersAndDeregisters) {
  const Finished put = ctl("backend register web b2=10.0.1.2:8080 b3=10.0.1.3:8080,weight=7");
  EXPECT_EQ(put.status, 0);
  EXPECT_THAT(put.out, HasSubstr("b3  10.0.1.3  8080       7"));
  EXPECT_EQ(ctl("backend register web6 --id b2 --address fd00:1::2 --port 8443 --weight 2").status,
            0);
  EXPECT_THAT(ctl("backend list web6").out, HasSubstr("b2  fd00:1::2  8443       2"));
  const Finished remove = ctl("backend deregister web b3 b9 b2 --drain 0");
  EXPECT_EQ(remove.status, 0);
  EXPECT_THAT(remove.out, MatchesRegex("deregistered b3, b2 \\(revision [0-9]+\\)\n"));
  EXPECT_THAT(ctl("backend deregister web b9").out, HasSubstr("none was registered"));
  EXPECT_EQ(ctl("service delete web").status, 0);
  EXPECT_EQ(ctl("service show web").status, 1);
}

TEST_F(CrabctlTest, ListsAndDescribesPolicies) {
  const Finished list = ctl("policy list");
  EXPECT_EQ(list.status, 0);
  EXPECT_THAT(list.out, MatchesRegex("NAME +LOAD +PARAMETERS +FROM +DESCRIPTION\n"
                                     "round_robin +no +- +built in +each backend.*"));
  EXPECT_THAT(list.out, HasSubstr("\nmaglev "));
  const Finished maglev = ctl("policy describe maglev");
  EXPECT_EQ(maglev.status, 0);
  EXPECT_THAT(maglev.out, HasSubstr("name         maglev\n"));
  EXPECT_THAT(maglev.out, HasSubstr("uses load    no\n"));
  EXPECT_THAT(maglev.out, HasSubstr("\nPARAMETER   DESCRIPTION\ntable_size  entries of"));
  EXPECT_THAT(ctl("policy describe maglev -o yaml").out, HasSubstr("- name: table_size\n"));
  const Finished none = ctl("policy describe best");
  EXPECT_EQ(none.status, 1);
  EXPECT_EQ(none.out, "crabctl: no policy is called 'best'; crabctl policy list shows all\n");
}

TEST_F(CrabctlTest, SetsPolicies) {
  const Finished set = ctl("policy set web maglev table_size=101");
  EXPECT_EQ(set.status, 0);
  EXPECT_THAT(set.out, MatchesRegex("service web is balanced by maglev table_size=101 "
                                    "\\(revision [0-9]+\\)\n"));
  EXPECT_THAT(ctl("service list").out, HasSubstr("maglev table_size=101"));
  // What is not given gets its default again.
  EXPECT_THAT(ctl("policy set web maglev").out, HasSubstr("balanced by maglev (revision"));
  const Finished bad = ctl("policy set web maglev table_size=102");
  EXPECT_EQ(bad.status, 1);
  EXPECT_THAT(bad.out, HasSubstr("policy.parameters: maglev: parameter 'table_size': 102 is not"));
  EXPECT_THAT(ctl("policy set web best").out, HasSubstr("policy.name: no policy is called 'best'"));
  EXPECT_THAT(ctl("policy set none random").out, HasSubstr("NOT_FOUND"));
  EXPECT_EQ(ctl("policy set web maglev table_size").status, 2);
  EXPECT_THAT(ctl("service list").out, HasSubstr("web   10.0.0.100    80  maglev "));
}

TEST_F(CrabctlTest, ShowsStats) {
  server_.on_strand([](FakeDataplane& dataplane) {
    auto& worker = dataplane.counters_of(1);
    worker.pending().n_rx_packets = 12;
    worker.pending().n_verdicts[static_cast<std::size_t>(Verdict::Fragment)] = 12;
    worker.publish();
  });
  const Finished table = ctl("stats");
  EXPECT_EQ(table.status, 0);
  EXPECT_THAT(table.out, HasSubstr("VERDICT   CLASS    PACKETS\nfragment  dropped       12\n\n"));
  EXPECT_THAT(ctl("stats --all").out, HasSubstr("ttl_expired"));
  EXPECT_THAT(ctl("stats -o json").out, HasSubstr("\"received_packets\": \"12\""));
  EXPECT_THAT(ctl("stats -o yaml").out, HasSubstr("received_packets: 12\n"));
}

TEST_F(CrabctlTest, ARefusalIsOneLineWithTheFields) {
  const Finished bad = ctl("backend register web b5=10.0.0.100:8080 b6=10.0.1.6:0");
  EXPECT_EQ(bad.status, 1);
  EXPECT_EQ(bad.out,
            "crabctl: INVALID_ARGUMENT/INVALID_FIELDS: the request has fields in error; "
            "backends[1].port: must be 1 to 65535\n");
  const Finished missing = ctl("backend list none");
  EXPECT_EQ(missing.status, 1);
  EXPECT_EQ(missing.out, "crabctl: NOT_FOUND/SERVICE_NOT_FOUND: there is no service 'none'\n");
}

TEST_F(CrabctlTest, WrongUsageIsStatusTwo) {
  for (const char* words :
       {"", "backend", "service create web", "-o xml stats", "backend register web",
        "backend register web b1", "backend register web b1=fd00::1:80",
        "backend register web --id b1", "backend deregister web", "--timeout 0 stats", "bogus"}) {
    EXPECT_EQ(ctl(words).status, 2) << words;
  }
}

TEST_F(CrabctlTest, NoServerIsStatusThreeWithARemedy) {
  const Finished absent = run("--server unix:/nonexistent/control.sock stats");
  EXPECT_EQ(absent.status, 3);
  EXPECT_THAT(absent.out,
              HasSubstr("cannot connect to unix:/nonexistent/control.sock: No such file"));
  EXPECT_THAT(absent.out, HasSubstr("is crab-lb running"));
  const std::string stopped = server_.listener();
  server_.stop();
  EXPECT_EQ(run("--server " + stopped + " stats").status, 3);
}

TEST_F(CrabctlTest, SaysWhoCallsAndHowTheNodeIsReached) {
  const std::string uid = "uid:" + std::to_string(geteuid());
  EXPECT_EQ(ctl("whoami").out.substr(0, uid.size() + 1), uid + "\n");
  const Finished status = ctl("status");
  EXPECT_EQ(status.status, 0);
  EXPECT_THAT(status.out, HasSubstr(server_.listener() + ": peer credentials; "));
  EXPECT_THAT(ctl("-o json status").out, HasSubstr("SECURITY_PEER_CREDENTIALS"));
}

TEST_F(CrabctlTest, AServerByTcpNeedsCertificates) {
  const Finished bare = run("--server tcp:127.0.0.1:1 stats");
  EXPECT_EQ(bare.status, 2);
  EXPECT_THAT(bare.out, HasSubstr("needs --ca, --cert, --key"));
  const Finished absent = run(
      "--server tcp:127.0.0.1:1 --ca /nonexistent --cert /nonexistent --key /nonexistent stats");
  EXPECT_EQ(absent.status, 2);
  EXPECT_EQ(absent.out,
            "crabctl: --cert: /nonexistent cannot be read: No such file or directory\n");
  const Finished closed = run("--server tcp:127.0.0.1:1 --insecure stats");
  EXPECT_EQ(closed.status, 3);
  EXPECT_THAT(closed.out, HasSubstr("Connection refused; is crab-lb running"));
  EXPECT_EQ(run("--server 127.0.0.1:1 stats").status, 2);
}

TEST_F(CrabctlTest, HelpHasExamplesForEveryCommand) {
  for (const char* words :
       {"", "service list", "service show", "service create", "service delete", "backend list",
        "backend register", "backend deregister", "backend drain", "backend disable",
        "backend enable", "stats", "status", "whoami", "version"}) {
    const Finished help = run(std::string(words) + " --help");
    EXPECT_EQ(help.status, 0) << words;
    EXPECT_THAT(help.out, HasSubstr("Example")) << words;
  }
  EXPECT_THAT(run("version").out, MatchesRegex("crabctl [0-9.]+\n"));
  EXPECT_EQ(run("--version").out, run("version").out);
}

TEST_F(CrabctlTest, ShowsWhereLoadsAreFrom) {
  wait_healthy();
  const auto created =
      ctl("service create idle --address 10.0.0.101 --port 80 --ramp-seconds 30 --load-signal orca "
          "--orca-metric queue --orca-port 9000");
  EXPECT_EQ(created.status, 0) << created.out;
  const auto idle = ctl("service show idle").out;
  EXPECT_THAT(idle, HasSubstr("slow start   30 s\n"));
  EXPECT_THAT(idle, HasSubstr("load signal  orca queue each 100 ms at port 9000\n"));
  EXPECT_THAT(ctl("service show web").out, HasSubstr("load signal  agent\n"));
  const auto backends = ctl("backend list web").out;
  EXPECT_THAT(backends, HasSubstr("LOAD FROM"));
  EXPECT_THAT(backends, HasSubstr("assigned"));
  const auto stats = ctl("stats --all").out;
  for (const char* title : {"UNREPORTED", "REGRET", "refused: replayed", "ORCA reports"}) {
    EXPECT_THAT(stats, HasSubstr(title));
  }
  EXPECT_THAT(ctl("stats").out, ::testing::Not(HasSubstr("refused: ")));
}

}  // namespace
}  // namespace crab
