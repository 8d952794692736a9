# SPDX-License-Identifier: Apache-2.0
"""Handshakes that are not the plain one: refused, lost, by cookie, mapped, not echoed."""

import contextlib
import errno
import select
import socket

import pytest
from capture import ACK, RST, SYN, Capture
from crab import CrabLb, VIRTUAL_PORT, configuration, service
from endpoint import Agent, Deltas, entered, listener, tcp_socket
from load import run_short
from process import wait_until
from topology import FAMILIES, in_url, virtual_address
from web import WebServer

CLOSED_PORT = 9
REFUSED, REFUSED_BARE, FILTERED, OWN, NO_ECHO, MULTIPATH, PAPER = 81, 82, 83, 84, 85, 86, 8080
# A port each: what one test leaves in TIME-WAIT must not keep the next from binding.
OWN_PORT, MULTIPATH_PORT = 8084, 8086


@pytest.fixture(scope="module")
def crab(topology):
    """c1 is the client, b1 a backend with an agent, c2 one without. Servers are there first."""
    client, (backend, *_), bare = topology.clients[0], topology.backends, topology.clients[1]
    services = []
    for family in FAMILIES:
        for port, host, backend_port in (
                (VIRTUAL_PORT, backend, 8080), (REFUSED, backend, CLOSED_PORT),
                (REFUSED_BARE, bare, CLOSED_PORT), (FILTERED, backend, 8083),
                (OWN, backend, OWN_PORT), (NO_ECHO, bare, 8080),
                (MULTIPATH, backend, MULTIPATH_PORT)):
            services.append(service(family, [host], name=f"s{port}-{family}", port=port,
                                    backend_port=backend_port))
    services.append(service("ipv4", [backend], name="paper", port=PAPER, backend_port=PAPER)
                    | {"option_form": "paper"})
    lb = CrabLb(topology, configuration(topology, services))
    for host in (backend, bare):
        WebServer(host)
    lb.start()
    agents = Agent(client, "client", lb.path), Agent(backend, "server", lb.path)
    yield agents
    for agent in agents:
        agent.remove()


def connect_error(topology, family: str, port: int) -> int:
    with tcp_socket(topology.clients[0], family) as s:
        return s.connect_ex((virtual_address(family), port))


@contextlib.contextmanager
def dropping_once(topology, match: str):
    """The fabric loses the first frame that matches."""
    topology.fabric.run(["nft", "add table bridge loss; add chain bridge loss forward "
                         "{ type filter hook forward priority 0; }; add rule bridge loss forward "
                         f"{match} limit rate 1/day burst 1 packets counter drop"])
    try:
        yield
        done = topology.fabric.run(["nft", "list chain bridge loss forward"])
        assert "packets 1 " in done.stdout, f"nothing was lost:\n{done.stdout}"
    finally:
        topology.fabric.run(["nft", "delete table bridge loss"])


def test_a_refusal_is_told_at_once(topology, crab, family):
    client, server = map(Deltas, crab)
    with Capture(topology.backends[0], "eth0", direction="out") as capture:
        assert connect_error(topology, family, REFUSED) == errno.ECONNREFUSED
        capture.wait_for(1)
    assert client.now()["refused"] == 1 and client.now()["offered"] == 1
    assert server.now()["echoed_reset"] == 1
    reset, = [s for s in capture.segments if s.flags & RST and s.source_port == CLOSED_PORT]
    assert reset.options[:1] == b"\xfd", "the RST carries the option"


def test_a_refusal_without_the_option_is_told_too(topology, crab, family):
    client = Deltas(crab[0])
    assert connect_error(topology, family, REFUSED_BARE) == errno.ECONNREFUSED
    assert client.now()["refused"] == 1 and client.now()["offered"] == 1


def test_a_rejecting_firewall_is_told_by_icmp(topology, crab, family):
    client, backend = Deltas(crab[0]), topology.backends[0]
    backend.run(["nft", "add table inet wall; add chain inet wall in "
                 "{ type filter hook input priority 0; }; add rule inet wall in "
                 "tcp dport 8083 reject with icmpx type port-unreachable"])
    try:
        assert connect_error(topology, family, FILTERED) == errno.ECONNREFUSED
    finally:
        backend.run(["nft", "delete table inet wall"])
    assert client.now()["icmp"] == 1


def test_a_lost_syn_ack_comes_again_with_the_option(topology, crab, family):
    client, server = map(Deltas, crab)
    with dropping_once(topology, "tcp flags & (syn | ack) == syn | ack"):
        assert connect_error(topology, family, VIRTUAL_PORT) == 0
    # Either side's timer may be the first.
    assert client.now()["redirected"] == 1
    assert server.now()["echoed"] + server.now().get("echoed_retransmitted", 0) >= 2


def test_a_repeated_syn_ack_is_translated(topology, crab, family):
    client, server = map(Deltas, crab)
    with listener(topology.backends[0], family, OWN_PORT), \
            tcp_socket(topology.clients[0], family) as s:
        source = topology.clients[0].address(family)
        with dropping_once(topology, f"{'ip' if family == 'ipv4' else 'ip6'} saddr {source} "
                           "tcp flags & (syn | ack) == ack"):
            s.connect((virtual_address(family), OWN))
            client.wait_for("duplicate")
        assert server.now()["echoed_retransmitted"] >= 1
        assert client.now()["redirected"] == 1 and client.rejects() == {}


def test_syn_cookies(topology, crab, family):
    backend, server = topology.backends[0], Deltas(crab[1])
    backend.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=2"])
    try:
        done = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 100)
    finally:
        backend.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=1"])
    assert (done.by_backend, done.failures) == ({"b1": 100}, {})
    assert server.now()["echoed"] >= 100
    sent = backend.run(["nstat", "-asz", "TcpExtSyncookiesRecv"]).stdout.split()
    assert int(sent[sent.index("TcpExtSyncookiesRecv") + 1]) >= 100


def test_dual_stack_listener_and_mapped_client(topology, crab):
    server = tcp_socket(topology.backends[0], "ipv6")
    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("::", OWN_PORT))
    server.listen()
    with server, tcp_socket(topology.clients[0], "ipv6") as client:
        mapped = f"::ffff:{virtual_address('ipv4')}"
        client.connect((mapped, OWN))
        accepted, (peer, *_) = server.accept()
        with accepted:
            assert peer == f"::ffff:{topology.clients[0].address('ipv4')}"
            assert client.getpeername()[:2] == (mapped, OWN)
            client.sendall(b"ping")
            assert accepted.recv(4) == b"ping"
            accepted.sendall(b"pong")
            assert client.recv(4) == b"pong"


def test_a_backend_that_does_not_echo_is_counted(topology, crab, family):
    client = Deltas(crab[0])
    with tcp_socket(topology.clients[0], family) as s:
        s.setblocking(False)
        assert s.connect_ex((virtual_address(family), NO_ECHO)) == errno.EINPROGRESS
        client.wait_for("missing_echo")
        assert not select.select([], [s], [], 0)[1], "not connected"


def test_curl_to_a_listener_that_was_there_first(topology, crab, family):
    url = f"http://{in_url(virtual_address(family))}:{VIRTUAL_PORT}/"
    assert topology.clients[0].run(["curl", "-sS", url]).stdout.strip() == "b1"


def test_the_echo_is_the_redirect_byte_for_byte(topology, crab, family):
    with Capture(topology.backends[0], "eth0", direction="inout") as capture:
        assert connect_error(topology, family, VIRTUAL_PORT) == 0
        capture.wait_for(2)
    syn, = [s for s in capture.segments if s.is_syn]
    answer, = [s for s in capture.segments if s.flags & (SYN | ACK) == SYN | ACK]
    length = {"ipv4": 12, "ipv6": 16}[family]
    assert answer.options[-length:] == syn.options[syn.options.index(b"\xfd", 20):][:length]
    assert answer.options[-length + 4] & 1


def test_the_socket_never_learns_the_backend(topology, crab, family):
    with tcp_socket(topology.clients[0], family) as s:
        s.connect((virtual_address(family), VIRTUAL_PORT))
        assert s.getpeername()[:2] == (virtual_address(family), VIRTUAL_PORT)
        client = f"{in_url(s.getsockname()[0])}:{s.getsockname()[1]}"
        flow = wait_until(lambda: [f for f in crab[0].status()["flow_list"]
                                   if f["client"] == client], "the flow")
        backend = f"{in_url(topology.backends[0].address(family))}:8080"
        assert [f["backend"] for f in flow] == [backend]


def test_the_papers_form(topology, crab):
    """Kind 42, which the appliance inserts and the client never offers; IPv4 only."""
    client, server = map(Deltas, crab)
    with Capture(topology.clients[0], "eth0", direction="inout") as capture:
        assert connect_error(topology, "ipv4", PAPER) == 0
        capture.wait_for(2)
    syn, answer = capture.segments[:2]
    assert len(syn.options) == 20, "Linux's own options, no offer"
    assert answer.options.endswith(b"\x2a\x06" + socket.inet_aton(virtual_address("ipv4")))
    assert client.now()["redirected"] == 1 and "offered" not in client.now()
    assert server.now()["echoed"] == 1


MPTCP = 262  # IPPROTO_MPTCP; Python has it since 3.10 only where the C library does


def has_mptcp() -> bool:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, MPTCP).close()
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_mptcp(), reason="this kernel has no MPTCP (CONFIG_MPTCP)")
def test_multipath_tcp_leaves_room_for_the_short_echo(topology, crab, family):
    client, server = map(Deltas, crab)
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    with entered(topology.backends[0]):
        listening = socket.socket(kind, socket.SOCK_STREAM, MPTCP)
    with entered(topology.clients[0]):
        connecting = socket.socket(kind, socket.SOCK_STREAM, MPTCP)
    with listening, connecting:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((topology.backends[0].address(family), MULTIPATH_PORT))
        listening.listen()
        connecting.settimeout(30)
        connecting.connect((virtual_address(family), MULTIPATH))
        accepted, _ = listening.accept()
        with accepted:
            connecting.sendall(b"ping")
            assert accepted.recv(4) == b"ping"
    assert server.now()["echoed_short"] == 1 and client.now()["redirected_short"] == 1
