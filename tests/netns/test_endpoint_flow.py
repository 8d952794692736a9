# SPDX-License-Identifier: Apache-2.0
"""Connections after the handshake: bulk both ways, ICMP, and every way to end."""

import hashlib
import os
import socket
import struct
import threading

import pytest
from capture import Capture
from crab import CrabLb, configuration, service
from endpoint import Agent, Deltas, frame_socket, listener, mac_of, tcp_socket
from process import wait_until
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6PacketTooBig, IPv6
from scapy.layers.l2 import Ether
from topology import FAMILIES, in_url, virtual_address

PORT, BACKEND_PORT = 80, 8084
N_BULK_BYTES = 50_000_000


@pytest.fixture(scope="module")
def crab(topology):
    """The agents of c1 and b1."""
    services = [service(family, topology.backends[:1], backend_port=BACKEND_PORT)
                for family in FAMILIES]
    lb = CrabLb(topology, configuration(topology, services)).start()
    agents = Agent(topology.clients[0], "client", lb.path), \
        Agent(topology.backends[0], "server", lb.path)
    yield agents
    for agent in agents:
        agent.remove()


class Connection:
    """Both ends of one connection through the appliance; a context manager."""

    def __init__(self, topology, family: str):
        with listener(topology.backends[0], family, BACKEND_PORT) as listening:
            self.client = tcp_socket(topology.clients[0], family)
            self.client.connect((virtual_address(family), PORT))
            self.server, _ = listening.accept()
            self.server.settimeout(30)

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.client.close()
        self.server.close()

    def exchange(self) -> None:
        for one, other in (self.client, self.server), (self.server, self.client):
            one.sendall(b"ping")
            assert other.recv(4) == b"ping"


def transfer(sender: socket.socket, receiver: socket.socket, n_bytes: int) -> None:
    """Random bytes that must arrive unchanged."""
    content = os.urandom(n_bytes)

    def send():
        sender.sendall(content)
        sender.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=send)
    thread.start()
    digest = hashlib.sha256()
    while part := receiver.recv(1 << 20):
        digest.update(part)
    thread.join()
    assert digest.digest() == hashlib.sha256(content).digest()


def set_offloads(hosts, to: str) -> None:
    for host in hosts:
        for feature in "tx", "tso", "gso", "gro":
            host.run(["ethtool", "-K", "eth0", feature, to])


@pytest.mark.parametrize("offloads", ["on", "off"])
@pytest.mark.parametrize("direction", ["up", "down"])
def test_bulk_arrives_intact(topology, crab, family, direction, offloads):
    hosts = topology.clients[0], topology.backends[0]
    client = Deltas(crab[0])
    set_offloads(hosts, offloads)
    try:
        with Connection(topology, family) as connection:
            ends = connection.client, connection.server
            transfer(*(ends if direction == "up" else ends[::-1]), N_BULK_BYTES)
    finally:
        set_offloads(hosts, "on")
    moved = client.now()
    assert "translate_failed" not in moved and client.rejects() == {}
    if offloads == "on":
        # Frames of up to 64 KiB pass tc, so that there are fewer of them than segments.
        assert moved["packets_out" if direction == "up" else "packets_in"] < N_BULK_BYTES / 3000


def test_the_neighbour_table_serves_as_well(topology, crab, family):
    crab[0].daemon.stop()
    crab[0].options = ("--no-learnt-next-hop",)
    crab[0].restart()
    try:
        client = Deltas(crab[0])
        with Connection(topology, family) as connection:
            transfer(connection.client, connection.server, N_BULK_BYTES)
        moved = client.now()
        assert moved["out_by_neighbour"] == moved["packets_out"] > 0
    finally:
        crab[0].daemon.stop()
        crab[0].options = ()
        crab[0].restart()


def test_packet_too_big_reaches_the_socket(topology, crab, family):
    """A router's ICMP error quotes the backend's address; the socket knows the virtual one's."""
    host, backend = topology.clients[0], topology.backends[0]
    client = Deltas(crab[0])
    with Connection(topology, family) as connection:
        with Capture(backend, "eth0") as capture:
            connection.exchange()
            capture.wait_for(1)
        sent = [s for s in capture.segments if s.source_port == connection.client.getsockname()[1]]
        expected = (sent[0].sequence + 4) % 2**32
        quoted = struct.pack("!HHI", sent[0].source_port, BACKEND_PORT, expected) + bytes(12)
        layers = dict(src=host.address(family), dst=backend.address(family))
        if family == "ipv4":
            error = IP(src=backend.address(family), dst=host.address(family)) \
                / ICMP(type=3, code=4, nexthopmtu=1300) / IP(**layers, proto=6, flags="DF") / quoted
        else:
            error = IPv6(src=backend.address(family), dst=host.address(family)) \
                / ICMPv6PacketTooBig(mtu=1300) / IPv6(**layers, nh=6, plen=20) / quoted
        with frame_socket(backend) as wire:
            wire.send(bytes(Ether(dst=mac_of(host), src=mac_of(backend)) / error))
        client.wait_for("icmp")
        wait_until(lambda: "mtu 1300" in host.run(
            ["ip", "route", "get", virtual_address(family)]).stdout, "the path MTU")
        transfer(connection.client, connection.server, 1_000_000)


def sockets_in(host, state: str) -> str:
    return host.run(["ss", "-tnH", "state", state]).stdout


def test_time_wait_answers_a_late_fin(topology, crab, family):
    host, backend = topology.clients[0], topology.backends[0]
    with Connection(topology, family) as connection:
        source, port = connection.client.getsockname()[:2]
        connection.client.close()
        assert connection.server.recv(1) == b""
        wait_until(lambda: f":{port}" in sockets_in(host, "fin-wait-2"), "FIN-WAIT-2")
        # The backend's FIN is not acknowledged before it has been sent again.
        topology.fabric.run(["nft", "add table bridge loss; add chain bridge loss forward "
                             "{ type filter hook forward priority 0; }; add rule bridge loss "
                             f"forward tcp sport {port} limit rate 1/day burst 1 packets drop"])
        try:
            connection.server.close()
            wait_until(lambda: f":{port}" in sockets_in(host, "time-wait"), "TIME-WAIT")
            wait_until(lambda: f":{port}" not in sockets_in(backend, "last-ack"),
                       "the late FIN to be acknowledged")
        finally:
            topology.fabric.run(["nft", "delete table bridge loss"])
        client = f"{in_url(source)}:{port}"
        flow, = [f for f in crab[0].status()["flow_list"] if f["client"] == client]
        assert flow["closing"]


@pytest.mark.parametrize("aborts", ["client", "server"])
def test_an_abort_reaches_the_other_end(topology, crab, family, aborts):
    with Connection(topology, family) as connection:
        connection.exchange()
        one, other = connection.client, connection.server
        if aborts == "server":
            one, other = other, one
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.close()
        with pytest.raises(ConnectionResetError):
            other.recv(1)


def test_a_port_is_used_again_while_the_old_connection_closes(topology, crab, family):
    """The flow of the connection before is still there; the new one takes it over."""
    host, client = topology.clients[0], Deltas(crab[0])
    host.run(["sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1"])
    with listener(topology.backends[0], family, BACKEND_PORT) as listening:
        for _ in range(50):
            with tcp_socket(host, family, source_port=45001) as s:
                s.connect((virtual_address(family), PORT))
                accepted, _ = listening.accept()
                with accepted:
                    accepted.settimeout(30)
                    s.sendall(b"ping")
                    assert accepted.recv(4) == b"ping"
                # The server closes first, so that the client's port is free at once.
                assert s.recv(1) == b""
    assert client.now()["redirected"] == 50 and client.rejects() == {}
