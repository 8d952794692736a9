# SPDX-License-Identifier: Apache-2.0
"""Who may call: crabctl as other users and with other certificates, crab-agent over mTLS."""

import contextlib
import json
import os
import pathlib
import shutil

import pytest
from certificates import Authority
from crab import CrabLb, configuration, program, service, service_name
from endpoint import Agent
from process import wait_until
from topology import APPLIANCE_NUMBER, FAMILIES, address, create_topology, in_url

CONTROL_PORT, REPORT_PORT = 7470, 7471
NOBODY = 65534
TRUST = "spiffe://example.org"


@pytest.fixture(scope="module")
def topology():
    with create_topology(n_clients=1, n_backends=2) as made:
        yield made


def server(family: str) -> str:
    return f"tcp:{in_url(address(family, APPLIANCE_NUMBER))}:{CONTROL_PORT}"


class Site:
    """A crab-lb with roles and mTLS, and the certificates of all."""

    def __init__(self, topology):
        self.topology = topology
        # Where others than root can look, unlike the sandbox's.
        self.directory = topology.sandbox.directory / "certificates"
        self.directory.mkdir(exist_ok=True)
        self.own_names = ",".join(f"IP:{address(family, APPLIANCE_NUMBER)}" for family in FAMILIES)
        self.authority = Authority(self.directory, "ca")
        shutil.copy(self.directory / "ca.pem", self.directory / "client-ca.pem")
        self.authority.issue("lb", self.own_names, "serverAuth")
        self.issue("viewer", f"{TRUST}/viewer")
        content = configuration(topology, [service(one, topology.backends) for one in FAMILIES])
        content["control"] = {
            "listen": [*content["control"]["listen"], *map(server, FAMILIES)],
            "tls": {"certificate": self.file("lb.pem"), "key": self.file("lb.key"),
                    "client_ca": self.file("client-ca.pem"), "refresh_seconds": 1},
            "roles": {
                "uid:0": {"methods": ["operator"], "services": ["*"]},
                f"uid:{NOBODY}": {"methods": ["viewer"], "services": [service_name("ipv4")]},
                f"{TRUST}/viewer": {"methods": ["viewer"], "services": [service_name("ipv4")]},
                f"{TRUST}/agent/*": {"methods": ["agent"], "services": ["*"]},
            },
        }
        content["load_reports"] = {"listen": [
            f"{in_url(address(family, APPLIANCE_NUMBER))}:{REPORT_PORT}" for family in FAMILIES]}
        self.lb = CrabLb(topology, content).start()
        socket = pathlib.Path(self.lb.socket.removeprefix("unix:"))
        assert socket.stat().st_mode & 0o777 == 0o660
        socket.chmod(0o666)  # roles alone decide

    def file(self, name: str) -> str:
        return str(self.directory / name)

    def issue(self, name: str, uri: str, **options) -> None:
        self.authority.issue(name, f"URI:{uri}", "clientAuth", **options)

    def words(self, name: str) -> list[str]:
        return ["--ca", self.file("ca.pem"), "--cert", self.file(f"{name}.pem"),
                "--key", self.file(f"{name}.key")]

    def ctl(self, family: str, name: str, *words: object):
        """crabctl on the client's host, by TCP."""
        return self.topology.clients[0].run(
            [program("crabctl"), "--server", server(family), *self.words(name), *words],
            check=False)

    def access(self) -> dict:
        return json.loads(self.lb.ctl("status", "-o", "json").stdout)

    def certificate(self) -> dict:
        return self.access()["certificate"]


@pytest.fixture(scope="module")
def site(topology):
    made = Site(topology)
    yield made
    made.lb.daemon.stop()


def as_nobody(topology, command: list[object], **options):
    """With the directories of the sandbox open for nobody."""
    for directory in (topology.sandbox.directory.parent, topology.sandbox.directory):
        directory.chmod(0o755)
    return topology.appliance.run(["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}",
                                   "--clear-groups", *command], check=False, **options)


@pytest.fixture(scope="module")
def public_crabctl():
    """Where nobody can run it: the build directory may be root's alone."""
    directory = pathlib.Path("/run/crab-test-access")
    directory.mkdir(mode=0o755, exist_ok=True)
    path = directory / "crabctl"
    shutil.copy(program("crabctl"), path)
    path.chmod(0o755)
    yield path
    shutil.rmtree(directory)


def test_another_user_is_known_by_the_kernel(topology, site, public_crabctl):
    crabctl = [public_crabctl, "--server", site.lb.socket]
    done = as_nobody(topology, [*crabctl, "whoami"])
    assert done.stdout.splitlines()[0] == f"uid:{NOBODY}", done.stderr
    assert site.lb.ctl("whoami").stdout.splitlines()[0] == "uid:0"
    assert as_nobody(topology, [*crabctl, "backend", "list", service_name("ipv4")]).returncode == 0

    refused = as_nobody(topology, [*crabctl, "service", "delete", service_name("ipv4")])
    assert refused.returncode == 1
    assert refused.stderr == (
        f"crabctl: PERMISSION_DENIED/ROLE_FORBIDS: uid:{NOBODY} may not call "
        f"crab.v1.ServiceAdmin/DeleteService for service '{service_name('ipv4')}'; "
        "control.roles of crab-lb says who may\n")
    other = as_nobody(topology, [*crabctl, "backend", "list", service_name("ipv6")])
    assert "ROLE_FORBIDS" in other.stderr
    assert {one["method"]: int(one["calls"]) for one in site.access()["denied"]} == {
        "crab.v1.ServiceAdmin/DeleteService": 1, "crab.v1.BackendService/ListBackends": 1}


def test_a_user_who_may_not_open_the_socket_is_told_so(topology, site, public_crabctl):
    socket = pathlib.Path(site.lb.socket.removeprefix("unix:"))
    socket.chmod(0o660)
    try:
        done = as_nobody(topology, [public_crabctl, "--server", site.lb.socket, "whoami"])
    finally:
        socket.chmod(0o666)
    assert done.returncode == 3
    assert done.stderr == (f"crabctl: cannot connect to {site.lb.socket}: Permission denied; run "
                           "as root or as a member of the socket's group\n")


def test_crabctl_by_mtls(site, family):
    done = site.ctl(family, "viewer", "whoami")
    assert done.stdout.splitlines()[0] == f"{TRUST}/viewer", done.stderr
    assert site.ctl(family, "viewer", "backend", "list", service_name("ipv4")).returncode == 0
    refused = site.ctl(family, "viewer", "service", "delete", service_name("ipv4"))
    assert refused.returncode == 1 and "ROLE_FORBIDS" in refused.stderr
    status = site.ctl(family, "viewer", "status")
    assert f"{server(family)}: mTLS" in status.stdout and "WARNING" in status.stdout


def test_crabctl_says_what_is_wrong_with_a_certificate(topology, site, family):
    other = Authority(site.directory, "other-ca")
    other.issue("foreign", f"URI:{TRUST}/viewer", "clientAuth")
    done = site.ctl(family, "foreign", "whoami")
    assert done.returncode == 3 and done.stderr.count("\n") == 1
    assert "does not trust who signed our certificate" in done.stderr
    done = topology.clients[0].run(
        [program("crabctl"), "--server", server(family), *site.words("viewer"),
         "--ca", site.file("other-ca.pem"), "whoami"], check=False)
    # Given twice is wrong usage; by itself it is another authority than the server's.
    assert done.returncode == 2
    environment = os.environ | {
        "CRAB_SERVER": server(family), "CRAB_CA": site.file("other-ca.pem"),
        "CRAB_CERT": site.file("viewer.pem"), "CRAB_KEY": site.file("viewer.key")}
    done = topology.clients[0].run([program("crabctl"), "whoami"], check=False, env=environment)
    assert done.returncode == 3 and "is signed by nobody in" in done.stderr
    done = topology.clients[0].run([program("crabctl"), "--server", server(family), "whoami"],
                                   check=False)
    assert done.returncode == 2 and "needs --ca, --cert, --key" in done.stderr
    site.issue("expired", f"{TRUST}/viewer", days=-1)
    done = site.ctl(family, "expired", "whoami")
    assert done.returncode == 2 and "has expired" in done.stderr


def attached(agent: Agent, n_times: int = 1) -> bool:
    (node,) = agent.status()["nodes"]
    return node["state"] == "attached" and node["attached"] >= n_times


def test_an_agent_attaches_by_mtls_and_outlives_a_rotation(topology, site, family):
    host = topology.backends[0]
    site.issue("agent", f"{TRUST}/agent/{host.host}")
    agent = Agent(host, "server", None, "--appliance", server(family), *site.words("agent"),
                  "--name", host.host)
    with contextlib.ExitStack() as stack:
        stack.callback(agent.remove)
        wait_until(lambda: attached(agent), "the agent to attach")
        reloads = int(site.certificate().get("reloads", 0))
        # Another authority for all: first both for clients, then new certificates.
        old = site.authority
        site.authority = Authority(site.directory, f"ca-{family}")
        both = old.certificate.read_text() + site.authority.certificate.read_text()
        for name in ("client-ca.pem", "ca.pem"):
            fresh = site.directory / f"{name}.new"
            fresh.write_text(both)
            fresh.rename(site.directory / name)
        site.authority.issue("lb", site.own_names, "serverAuth")
        wait_until(lambda: int(site.certificate().get("reloads", 0)) > reloads
                   and not site.certificate().get("last_error"), "the certificate to be in force")
        (node,) = agent.status()["nodes"]
        assert node["state"] == "attached" and node["attached"] == 1
        site.issue("agent", f"{TRUST}/agent/{host.host}")
        site.issue("viewer", f"{TRUST}/viewer")
        # Its stream ends, and it comes back with the new certificate to the new one.
        site.lb.daemon.kill()
        site.lb.start()
        pathlib.Path(site.lb.socket.removeprefix("unix:")).chmod(0o666)
        wait_until(lambda: attached(agent, 2), "the agent to attach again")
        assert site.ctl(family, "viewer", "whoami").returncode == 0


def test_an_agent_that_may_not_attach_says_so(topology, site, family):
    host = topology.backends[1]
    agent = Agent(host, "server", None, "--appliance", server(family), *site.words("viewer"),
                  "--name", host.host)
    try:
        wait_until(lambda: "may not call crab.v1.AgentService/Attach"
                   in agent.status()["nodes"][0].get("last_error", ""), "the agent to be refused")
    finally:
        agent.remove()


def test_an_insecure_listener_is_called_so(topology, site):
    site.lb.daemon.stop()
    content = configuration(topology, [])
    content["control"]["listen"].append(server("ipv4"))
    refused = CrabLb(topology, content)
    done = topology.appliance.run([program("crab-lb"), "--config", refused.path, "--check-config"],
                                  check=False)
    assert done.returncode == 1 and "control.listen[1]: needs control.tls" in done.stderr
    content["control"] |= {"insecure": True}
    lb = CrabLb(topology, content).start()
    try:
        text = lb.ctl("status").stdout
        assert f"{server('ipv4')}: INSECURE" in text and "\x1b[" not in text
        # With a terminal in its place, in red.
        script = f"{program('crabctl')} --server {lb.socket} status"
        shown = topology.appliance.run(["script", "-qec", script, "/dev/null"]).stdout
        assert "\x1b[1;31mINSECURE" in shown
        done = topology.clients[0].run([program("crabctl"), "--server", server("ipv4"),
                                        "--insecure", "whoami"], check=False)
        assert done.returncode == 1 and "UNAUTHENTICATED/NOT_AUTHENTICATED" in done.stderr
    finally:
        lb.daemon.stop()
