# SPDX-License-Identifier: Apache-2.0
"""What crab-agent counts of a backend's connections, against what `ss` shows."""

import contextlib
import json
import socket
import struct

import pytest
from crab import VIRTUAL_PORT, CrabLb, configuration, service
from endpoint import Agent, entered, listener, shown_by_ss, tcp_socket
from load import run_short
from process import run, wait_until
from topology import FAMILIES, Host, in_url, virtual_address
from web import PORT as WEB_PORT, WebServer

PORT, OTHER_PORT = 9001, 9002
NODE = 200


def backend_name(host: Host, family: str, port: int) -> str:
    return f"{in_url(host.address(family))}:{port}"


class Counted:
    """One backend's counts, as `crab-agent status` shows them."""

    def __init__(self, agent: Agent, family: str, port: int = PORT):
        self.agent, self.family, self.port = agent, family, port
        self.name = backend_name(agent.host, family, port)
        self.before = self.now()

    def now(self) -> dict:
        return next(b for b in self.agent.status()["backends"] if b["backend"] == self.name)

    def since(self, what: str) -> int:
        return self.now()[what] - self.before[what]

    def equals_ss(self) -> bool:
        return self.now()["open"] == shown_by_ss(self.agent.host, self.family, self.port)

    def wait_for(self, n_open: int) -> None:
        wait_until(lambda: self.now()["open"] == n_open, f"{n_open} open at {self.name}")
        wait_until(self.equals_ss, "the count to be what ss shows")


def abort(s: socket.socket) -> None:
    """Closes by RST."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Connections:
    """Pairs of sockets, from a host to a listening one."""

    def __init__(self, client: Host, listening: socket.socket, to: tuple[str, int], family: str):
        self.client, self.listening, self.to, self.family = client, listening, to, family
        self.pairs: list[tuple[socket.socket, socket.socket]] = []

    def open(self, n: int) -> "Connections":
        for _ in range(n):
            s = tcp_socket(self.client, self.family)
            s.connect(self.to)
            self.pairs.append((s, self.listening.accept()[0]))
        return self

    def take(self) -> tuple[socket.socket, socket.socket]:
        return self.pairs.pop()

    def close(self) -> None:
        for pair in self.pairs:
            for s in pair:
                s.close()
        self.pairs.clear()


@contextlib.contextmanager
def connections(client: Host, host: Host, family: str, port: int = PORT):
    with listener(host, family, port) as listening:
        made = Connections(client, listening, (host.address(family), port), family)
        try:
            yield made
        finally:
            made.close()


def content(host: Host) -> dict:
    return {"services": [
        {"name": f"s{port}-{family}", "address": virtual_address(family), "port": port,
         "backends": [{"id": "b", "address": host.address(family), "port": port}]}
        for family in FAMILIES for port in (PORT, OTHER_PORT)]}


@pytest.fixture
def host(topology):
    return topology.backends[0]


@pytest.fixture
def agent(host):
    made = Agent(host, "server", content(host))
    yield made
    made.remove()


def test_any_mix_of_connects_closes_and_aborts(topology, host, agent, family):
    counted = Counted(agent, family)
    with connections(topology.clients[0], host, family) as made:
        made.open(40)
        counted.wait_for(40)
        for i in range(30):
            client, server = made.take()
            first, second = (client, server) if i % 2 else (server, client)
            (abort if i % 3 == 0 else socket.socket.close)(first)
            second.close()
        counted.wait_for(10)
        made.open(7)
        counted.wait_for(17)
        assert counted.since("accepted") == 47 and counted.since("closed") == 30
    counted.wait_for(0)
    assert counted.since("accepted") == counted.since("closed") == 47
    assert agent.status()["counting"]["repaired"] == 0, "nothing escaped the program"
    assert Counted(agent, family, OTHER_PORT).now()["accepted"] == 0


def test_half_closed_connections_are_open(topology, host, agent, family):
    counted = Counted(agent, family)
    with connections(topology.clients[0], host, family) as made:
        made.open(4)
        (close_wait, _), (fin_wait, _) = made.pairs[0], made.pairs[1]
        close_wait.shutdown(socket.SHUT_WR)
        made.pairs[1][1].shutdown(socket.SHUT_WR)
        fin_wait.recv(1)
        counted.wait_for(4)
        # Closed and gone for its owner; the kernel waits for the client's FIN in FIN-WAIT-2.
        made.pairs[2][1].close()
        wait_until(lambda: counted.now()["lingering"] == 1, "the audit to find it")
        counted.wait_for(4)
        made.pairs[2][0].close()
        counted.wait_for(3)


def test_connections_that_were_there_before(topology, host, family):
    with connections(topology.clients[0], host, family) as made:
        made.open(5)
        agent = Agent(host, "server", content(host))
        try:
            counted = Counted(agent, family)
            assert counted.now()["open"] == 5, "before the first report could leave"
            made.take()[0].close()
            made.take()[1].close()
            counted.wait_for(shown_by_ss(host, family, PORT))
            made.close()
            counted.wait_for(0)
            assert agent.status()["counting"]["repaired"] == 0
        finally:
            agent.remove()


@pytest.mark.parametrize("dual_stack", [False, True], ids=["wildcard", "dual-stack"])
def test_listeners_on_any_address(topology, host, agent, family, dual_stack):
    with entered(host):
        listening = socket.socket(socket.AF_INET6 if dual_stack or family == "ipv6"
                                  else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with listening:
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual_stack)
        listening.bind(("", PORT))
        listening.listen(64)
        made = Connections(topology.clients[0], listening, (host.address(family), PORT), family)
        counted = Counted(agent, family)
        made.open(6)
        counted.wait_for(6)
        abort(made.take()[1])
        counted.wait_for(5)
        made.close()
    counted.wait_for(0)
    assert counted.since("accepted") == counted.since("closed") == 6


def test_counting_goes_on_without_an_agent(topology, host, agent, family):
    counted = Counted(agent, family)
    boot_id = agent.status()["counting"]["boot_id"]
    with connections(topology.clients[0], host, family) as made:
        made.open(3)
        agent.daemon.kill()
        made.open(4)
        for _ in range(2):
            for s in made.take():
                s.close()
        counted.wait_for(5)
        agent.restart()
        made.open(1)
        counted.wait_for(6)
        assert counted.since("accepted") == 8 and counted.since("closed") == 2
    counting = agent.status()["counting"]
    assert counting["boot_id"] == boot_id and counting["repaired"] == 0
    agent.remove()
    agent.restart()
    assert agent.status()["counting"]["boot_id"] != boot_id, "counts that begin anew say so"


def stop_counting(host: Host) -> None:
    """Takes the program away. The kernel frees the link of an unlinked pin after a grace period,
    and until then it counts on."""
    pin = host.pin_directory / "v2" / "load"
    link = json.loads(run(["bpftool", "-j", "link", "show", "pinned", pin]).stdout)["id"]
    pin.unlink()
    wait_until(lambda: run(["bpftool", "link", "show", "id", link], check=False).returncode != 0,
               "the program to be gone")


def test_the_audit_corrects_what_was_missed(topology, host, agent, family):
    counted = Counted(agent, family)
    with connections(topology.clients[0], host, family) as made:
        made.open(3)
        counted.wait_for(3)
        stop_counting(host)
        made.open(4)
        counted.wait_for(7)
        assert agent.status()["counting"]["repaired"] == 4
        abort(made.take()[0])
        counted.wait_for(6)
        assert agent.status()["counting"]["repaired"] == 5
    agent.daemon.stop()
    agent.restart()
    counted.wait_for(0)


def test_other_namespaces_do_not_count(topology, host, agent, family):
    """The same address and port on another host, which the tracepoint sees as well."""
    counted = Counted(agent, family)
    other = topology.backends[1]
    other.run(["ip", "address", "add", f"{host.address(family)}/128" if family == "ipv6"
               else f"{host.address(family)}/32", "dev", "lo", *(["nodad"] if family == "ipv6"
                                                                 else [])])
    try:
        with entered(other):
            listening = socket.create_server((host.address(family), PORT),
                                             family=socket.AF_INET6 if family == "ipv6"
                                             else socket.AF_INET)
            with listening, socket.create_connection((host.address(family), PORT)):
                assert counted.now()["open"] == 0
    finally:
        other.run(["ip", "address", "del", f"{host.address(family)}"
                   f"{'/128' if family == 'ipv6' else '/32'}", "dev", "lo"])
    assert counted.since("accepted") == 0


@pytest.fixture(scope="module")
def lb(topology):
    """With b1 behind both families' services."""
    backend = topology.backends[0]
    services = [service(family, [backend]) for family in FAMILIES]
    WebServer(backend)
    return CrabLb(topology, configuration(topology, services) | {"node": NODE}).start()


@pytest.mark.parametrize("cookies", [1, 2], ids=["", "syn-cookies"])
def test_redirected_connections_count_for_their_node(topology, lb, host, family, cookies):
    client = topology.clients[0]
    host.run(["sysctl", "-qw", f"net.ipv4.tcp_syncookies={cookies}"])
    agents = [Agent(host, "server", lb.path), Agent(client, "client", lb.path)]
    try:
        counted = Counted(agents[0], family, WEB_PORT)
        assert run_short(client, virtual_address(family), VIRTUAL_PORT, 20).failures == {}
        assert run_short(client, host.address(family), WEB_PORT, 5).failures == {}
        counted.wait_for(0)
        assert counted.since("accepted") == 25
        assert counted.now()["accepted_by_node"] == {str(NODE): 20}
    finally:
        for agent in agents:
            agent.remove()
        host.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=1"])
