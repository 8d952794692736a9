# SPDX-License-Identifier: Apache-2.0
"""The appliance's idea of each backend's load, against what `ss` counts there: it comes right again
by itself after anything."""

import contextlib
import random
import select
import socket
import struct

import pytest
from crab import VIRTUAL_PORT, CrabLb, configuration, service_name
from endpoint import Agent, entered, frame_socket, listener, shown_by_ss, tcp_socket
from process import wait_until
from topology import APPLIANCE_NUMBER, FAMILIES, Host, address, in_url, virtual_address
from web import PORT

REPORT_PORT = 7471
# DESIGN, section 4, and issue 3: the estimate is right within this after the last event.
AGREEMENT_S = 5.0


def report_address(family: str) -> str:
    return f"{in_url(address(family, APPLIANCE_NUMBER))}:{REPORT_PORT}"


class Connections:
    """Redirected connections with both of their ends in hand, whichever backend they went to."""

    def __init__(self, client: Host, listeners: dict[str, socket.socket], family: str):
        self.client, self.listeners, self.family = client, listeners, family
        self.pairs: list[tuple[str, socket.socket, socket.socket]] = []

    def open(self, n: int) -> None:
        for _ in range(n):
            s = tcp_socket(self.client, self.family)
            s.connect((virtual_address(self.family), VIRTUAL_PORT))
            self.accept(s)

    def accept(self, client: socket.socket) -> None:
        ready, _, _ = select.select(list(self.listeners.values()), [], [], 30)
        accepted, _ = ready[0].accept()
        name = next(n for n, s in self.listeners.items() if s is ready[0])
        self.pairs.append((name, client, accepted))

    def end(self, n: int, how: random.Random) -> None:
        """Closes or aborts, either end first."""
        for _ in range(n):
            _, client, server = self.pairs.pop(how.randrange(len(self.pairs)))
            first, second = (client, server) if how.random() < 0.5 else (server, client)
            if how.random() < 0.3:
                first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            first.close()
            second.close()

    def close(self) -> None:
        for _, client, server in self.pairs:
            client.close()
            server.close()
        self.pairs.clear()


class Deployment:
    """crab-lb, agents on every host that know their node by its control socket alone, and
    listeners."""

    def __init__(self, topology, family: str):
        self.topology, self.family = topology, family
        content = configuration(topology)
        content["load_reports"] = {"listen": [report_address(family)]}
        for service in content["services"]:
            service["policy"] = {"name": "join_shortest_queue"}
        self.lb = CrabLb(topology, content).start()
        self.agents = {host.host: self._agent(host, "server") for host in topology.backends}
        self.client_agent = self._agent(topology.clients[0], "client")
        self.listeners = {host.host: listener(host, family, PORT) for host in topology.backends}
        self.connections = Connections(topology.clients[0], self.listeners, family)
        wait_until(lambda: self.client_agent.status()["offers"], "the client's offers")
        self.wait_for_agents()
        self.wait_for_truth()

    def _agent(self, host: Host, role: str) -> Agent:
        return Agent(host, role, None, "--appliance", self.lb.socket, "--name", host.host)

    def loads(self) -> dict[str, dict]:
        """By backend, as `crabctl backend list` shows them."""
        return {name: backend["status"]["load"]
                for name, backend in self.lb.backends(self.family).items()}

    def states(self) -> set[str]:
        return {backend["status"]["state"] for backend in self.lb.backends(self.family).values()}

    def is_true(self) -> bool:
        loads = self.loads()
        return all(load["source"] == "LOAD_SOURCE_EVENT" and load["unconfirmed"] == 0
                   for load in loads.values()) and loads_of(loads) == self.counted_by_ss()

    def counted_by_ss(self) -> dict[str, int]:
        return {host.host: shown_by_ss(host, self.family, PORT) for host in self.topology.backends}

    def wait_for_truth(self) -> None:
        try:
            wait_until(self.is_true, "loads as ss counts them", AGREEMENT_S)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.loads()}, ss: {self.counted_by_ss()}") from None

    def wait_for_agents(self) -> None:
        """They come back to a node by and by: after five seconds at most, each."""
        wait_until(lambda: self.lb.stats()["load_reports"]["agents"] == 4, "the agents")

    def service_stats(self) -> dict:
        return next(s for s in self.lb.stats()["services"]
                    if s["service"] == service_name(self.family))

    def refusals(self) -> dict[str, int]:
        return {r["reason"]: int(r["count"])
                for r in self.lb.stats()["load_reports"]["refusals"]}

    def close(self) -> None:
        self.connections.close()
        for s in self.listeners.values():
            s.close()
        for agent in [*self.agents.values(), self.client_agent]:
            agent.remove()
        self.lb.daemon.stop(check=False)


def loads_of(loads: dict[str, dict]) -> dict[str, int]:
    return {name: load["open"] for name, load in loads.items()}


@pytest.fixture(scope="module", params=FAMILIES)
def crab(topology, request):
    with contextlib.closing(Deployment(topology, request.param)) as made:
        yield made


@pytest.fixture(autouse=True)
def settled(crab):
    """Each test ends without connections, and with the truth known."""
    yield
    crab.connections.close()
    crab.wait_for_truth()
    assert set(loads_of(crab.loads()).values()) == {0}


@contextlib.contextmanager
def dropping(host: Host, rule: str):
    """The host loses these packets for a while."""
    host.run(["nft", "add table inet lose; "
                     "add chain inet lose out { type filter hook output priority 0; }; "
                     "add chain inet lose in { type filter hook input priority 0; }; "
                     f"add rule inet lose {rule} drop"])
    try:
        yield
    finally:
        host.run(["nft", "delete table inet lose"])


def test_connects_closes_and_aborts(crab):
    how = random.Random(3)
    for _ in range(5):
        crab.connections.open(30)
        crab.connections.end(how.randrange(10, 30), how)
        crab.wait_for_truth()
    loads = crab.loads()
    assert sum(int(load["accepted_own"]) for load in loads.values()) >= 150
    assert crab.service_stats()["reporting_backends"] == 3


def test_join_shortest_queue_keeps_the_queues_level(crab):
    crab.connections.open(30)
    assert set(crab.counted_by_ss().values()) == {10}
    crab.wait_for_truth()
    for pair in [p for p in crab.connections.pairs if p[0] == "b1"][:8]:
        crab.connections.pairs.remove(pair)
        pair[1].close()
        pair[2].close()
    crab.wait_for_truth()
    crab.connections.open(8)
    assert set(crab.counted_by_ss().values()) == {10}, "where they ended"


def test_connections_past_the_appliance(crab):
    """Opened to the backend itself: they are load all the same."""
    backend = crab.topology.backends[1]
    with contextlib.ExitStack() as held:
        for _ in range(6):
            s = held.enter_context(tcp_socket(crab.topology.clients[1], crab.family))
            s.connect((backend.address(crab.family), PORT))
            held.enter_context(crab.listeners[backend.host].accept()[0])
        crab.wait_for_truth()
        assert loads_of(crab.loads()) == {"b1": 0, "b2": 6, "b3": 0}
        crab.connections.open(12)
        assert crab.counted_by_ss() == {"b1": 6, "b2": 6, "b3": 6}


def test_syns_that_are_lost_are_written_off(crab):
    before = crab.service_stats()
    with dropping(crab.topology.backends[0], f"in tcp dport {PORT}"), contextlib.ExitStack() as held:
        waiting = []
        for _ in range(9):
            s = held.enter_context(tcp_socket(crab.topology.clients[0], crab.family))
            s.setblocking(False)
            s.connect_ex((virtual_address(crab.family), VIRTUAL_PORT))
            waiting.append(s)
        wait_until(lambda: int(crab.service_stats()["written_off_connections"])
                   > int(before["written_off_connections"]), "the lost ones to be written off")
        wait_until(lambda: int(crab.service_stats()["unconfirmed_connections"]) == 0,
                   "none to be unconfirmed", AGREEMENT_S)
        for s in waiting:
            s.close()
    for s in crab.listeners.values():  # those that came through
        while select.select([s], [], [], 0)[0]:
            s.accept()[0].close()


def test_refused_connections_leave_nothing(crab):
    crab.listeners.pop("b1").close()
    for _ in range(12):
        with contextlib.suppress(ConnectionRefusedError), \
                tcp_socket(crab.topology.clients[0], crab.family) as s:
            s.connect((virtual_address(crab.family), VIRTUAL_PORT))
            crab.connections.accept(s)
    crab.listeners["b1"] = listener(crab.topology.backends[0], crab.family, PORT)
    crab.wait_for_truth()


def test_lost_reports(crab):
    how = random.Random(4)
    crab.connections.open(12)
    host = crab.topology.backends[0]
    with dropping(host, f"out udp dport {REPORT_PORT}"):
        wait_until(lambda: crab.loads()["b1"]["source"] == "LOAD_SOURCE_SILENT", "silence")
        backend = crab.lb.backends(crab.family)["b1"]
        assert backend["status"]["state"] == "BACKEND_STATE_UNHEALTHY"
        assert backend["status"]["reason"].startswith("agent silent for ")
        before = crab.counted_by_ss()
        crab.connections.open(10)
        assert crab.counted_by_ss()["b1"] == before["b1"], "it gets nothing while it is silent"
        crab.connections.end(10, how)
    crab.wait_for_truth()
    assert crab.states() == {"BACKEND_STATE_HEALTHY"}


def test_reports_of_most_lost_at_once(crab):
    with contextlib.ExitStack() as lost:
        for host in crab.topology.backends:
            lost.enter_context(dropping(host, f"out udp dport {REPORT_PORT}"))
        wait_until(lambda: crab.service_stats()["path_suspected"], "the alarm")
        wait_until(lambda: crab.states() == {"BACKEND_STATE_HEALTHY"}, "all to carry on")
        crab.connections.open(12)
        assert set(crab.counted_by_ss().values()) == {4}, "balanced by assignments alone"
    crab.wait_for_truth()
    wait_until(lambda: not crab.service_stats()["path_suspected"], "the alarm's end")


def test_an_agent_is_killed_and_starts_again(crab):
    how = random.Random(5)
    crab.connections.open(20)
    agent = crab.agents["b2"]
    agent.daemon.kill()
    crab.connections.open(10)
    crab.connections.end(15, how)
    agent.restart()
    crab.connections.open(3)
    crab.wait_for_truth()


def test_an_agent_that_stops_says_goodbye(crab):
    crab.connections.open(6)
    agent = crab.agents["b3"]
    agent.daemon.stop()
    wait_until(lambda: crab.loads()["b3"]["source"] == "LOAD_SOURCE_ASSIGNED", "its goodbye")
    assert crab.states() == {"BACKEND_STATE_HEALTHY"}, "it still gets connections"
    crab.connections.open(6)
    # Its counts begin anew, with another boot id.
    agent.remove()
    agent.restart()
    crab.connections.open(3)
    crab.wait_for_truth()


def test_the_node_is_killed_and_starts_again(crab):
    how = random.Random(6)
    crab.connections.open(20)
    crab.lb.daemon.kill()
    crab.connections.end(8, how)
    crab.lb.start()
    crab.wait_for_agents()
    crab.wait_for_truth()
    crab.connections.open(7)
    crab.wait_for_truth()


def payload_of(frame: bytes) -> bytes | None:
    """Of a UDP datagram to the node's port; None of anything else."""
    kind = frame[12:14]
    at = 14 + (frame[14] & 15) * 4 if kind == b"\x08\x00" else 54
    is_udp = frame[23 if kind == b"\x08\x00" else 20] == socket.IPPROTO_UDP
    if kind not in (b"\x08\x00", b"\x86\xdd") or not is_udp:
        return None
    return frame[at + 8:] if frame[at + 2:at + 4] == REPORT_PORT.to_bytes(2, "big") else None


def genuine_report(host: Host) -> bytes:
    with frame_socket(host) as link:
        while True:
            payload = payload_of(link.recv(65536))
            if payload:
                return payload


def flipped(datagram: bytes, at: int) -> bytes:
    return datagram[:at] + bytes([datagram[at] ^ 1]) + datagram[at + 1:]


@pytest.mark.parametrize("at, reason", [
    (None, "replayed"), (3, "magic"), (4, "version"), (7, "length"), (15, "unknown_session"),
    (6, "mac"), (23, "mac"), (31, "mac"), (39, "mac"), (71, "mac"), (-1, "mac"),
], ids=str)
def test_a_forged_or_replayed_report_is_refused(crab, at, reason):
    crab.connections.open(3)
    crab.wait_for_truth()
    genuine = genuine_report(crab.topology.backends[0])
    forged = genuine if at is None else flipped(genuine, at % len(genuine))
    before = crab.refusals()
    attacker = crab.topology.clients[1]
    with entered(attacker):
        s = socket.socket(socket.AF_INET if crab.family == "ipv4" else socket.AF_INET6,
                          socket.SOCK_DGRAM)
    with s:
        for _ in range(5):
            s.sendto(forged, (address(crab.family, APPLIANCE_NUMBER), REPORT_PORT))
    wait_until(lambda: crab.refusals()[reason] >= before[reason] + 5, f"{reason} to be counted")
    crab.wait_for_truth()
