# SPDX-License-Identifier: Apache-2.0
"""Forged answers: each fails one check, is counted by it, and leaves the socket in SYN-SENT.

No appliance: the first backend's link gets the SYNs, and the test answers them by hand.
"""

import contextlib
import dataclasses
import ipaddress
import socket
import struct
from collections.abc import Iterator

import pytest
from capture import Segment, parse_frame
from endpoint import Agent, Deltas, frame_socket, mac_of, tcp_socket
from process import wait_until
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from tag import tag
from topology import FAMILIES, address

VIRTUAL_NUMBER = 101
PLAIN_PORT, KEYED_PORT, NO_SERVICE_PORT = 80, 443, 81
BACKEND_PORT = 8080
KEYS = [bytes(range(16)), bytes(range(100, 116))]
EXID = b"\xc4\xab"
SYN_SENT, ESTABLISHED = 2, 1


def virtual(family: str) -> str:
    return address(family, VIRTUAL_NUMBER)


def content(topology) -> dict:
    services = []
    for family in FAMILIES:
        for port, keys in (PLAIN_PORT, []), (KEYED_PORT, [key.hex() for key in KEYS]):
            services.append({"name": f"s{port}-{family}", "address": virtual(family), "port": port,
                             "keys": keys})
    allowed = [f"{host.address(family)}/{32 if family == 'ipv4' else 128}"
               for host in topology.backends[:2] for family in FAMILIES]
    return {"services": services, "agent": {"allowed_prefixes": allowed}}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the attacker (or the backend) sends to a SYN."""
    source: str
    option: bytes
    acknowledged: int = 1  # beyond the ISN
    source_port: int = BACKEND_PORT
    flags: str = "SA"


class Target:
    """A connection attempt, its SYN, and the means to answer it."""

    def __init__(self, topology, family: str, port: int):
        self.family, self.port = family, port
        client, attacker = topology.clients[0], topology.backends[0]
        self._macs = mac_of(client), mac_of(attacker)
        self.wire = frame_socket(attacker)
        self.socket = tcp_socket(client, family)
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.socket.connect((virtual(family), port))
        self.syn = self._receive_syn()

    def _receive_syn(self) -> Segment:
        port = self.socket.getsockname()[1]
        while True:
            seen = parse_frame(0, self.wire.recv(2048))
            if seen and seen.is_syn and seen.source_port == port:
                return seen

    def close(self) -> None:
        self.wire.close()
        self.socket.close()

    @property
    def state(self) -> int:
        return self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]

    def offer(self) -> bytes:
        at = self.syn.options.find(b"\xfd", 20)
        return self.syn.options[at:at + self.syn.options[at + 1]] if at >= 0 else b""

    def redirect(self, source: str, key: bytes | None = None) -> bytes:
        """The offer, as an appliance would have filled it."""
        option = bytearray(self.offer())
        option[4] |= 1
        option[5] = 7
        option[6:8] = struct.pack(">H", self.port)
        if self.family == "ipv4":
            option[8:12] = ipaddress.ip_address(virtual(self.family)).packed
        if key:
            option[-8:] = tag(key, (virtual(self.family), self.port), (source, BACKEND_PORT),
                              (self.syn.source, self.syn.source_port), self.syn.sequence)
        return bytes(option)

    def send(self, answer: Answer) -> None:
        options = [(answer.option[0], answer.option[2:])] if answer.option else []
        if len(answer.option) > 2 and answer.option[1] != len(answer.option):
            options = [(answer.option[0], answer.option[2:answer.option[1]]),
                       (answer.option[answer.option[1]], answer.option[answer.option[1] + 2:])]
        ip = (IP if self.family == "ipv4" else IPv6)(src=answer.source, dst=self.syn.source)
        tcp = TCP(sport=answer.source_port, dport=self.syn.source_port, flags=answer.flags,
                  seq=1000, ack=(self.syn.sequence + answer.acknowledged) % 2**32, window=65535,
                  options=options)
        client_mac, attacker_mac = self._macs
        self.wire.send(bytes(Ether(dst=client_mac, src=attacker_mac) / ip / tcp))


@pytest.fixture(scope="module")
def agent(topology) -> Iterator[Agent]:
    attacker = topology.backends[0]
    for family in FAMILIES:
        topology.clients[0].run(["ip", "neigh", "replace", virtual(family), "lladdr",
                                 mac_of(attacker), "dev", "eth0"])
    # The attacker's kernel knows nothing of these connections and would reset them.
    attacker.run(["nft", "add table inet quiet; add chain inet quiet out "
                  "{ type filter hook output priority 0; }; "
                  "add rule inet quiet out tcp flags rst drop"])
    made = Agent(topology.clients[0], "client", content(topology))
    yield made
    made.remove()


@contextlib.contextmanager
def connecting(topology, family: str, port: int) -> Iterator[Target]:
    target = Target(topology, family, port)
    try:
        yield target
    finally:
        target.close()


def good(topology, target: Target) -> Answer:
    source = topology.backends[0].address(target.family)
    return Answer(source, target.redirect(source, KEYS[0] if target.port == KEYED_PORT else None))


def swap(option: bytes, at: int, replacement: bytes) -> bytes:
    return option[:at] + replacement + option[at + len(replacement):]


def another_address(family: str, option: bytes) -> bytes:
    """The address of another service, or, where the form has none, another port."""
    return swap(option, 8, b"\x0a\x00\x00\x63") if family == "ipv4" else swap(option, 6, b"\0\x51")


# Name: port of the service, what is wrong, the counter for IPv4 and for IPv6.
FORGERIES = {
    "ack_beyond": (PLAIN_PORT, lambda t, a: dataclasses.replace(a, acknowledged=2),
                   "reject_bad_ack", "reject_not_pending"),
    "ack_of_nothing": (PLAIN_PORT, lambda t, a: dataclasses.replace(a, acknowledged=0),
                       "reject_bad_ack", "reject_not_pending"),
    "outside_prefixes": (PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, source=address(t.family, 13)), "reject_prefix", "reject_prefix"),
    "another_service": (PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=another_address(t.family, a.option)), "reject_not_pending", "reject_not_pending"),
    "unfilled": (PLAIN_PORT, lambda t, a: dataclasses.replace(a, option=t.offer()),
                 "reject_unfilled", "reject_unfilled"),
    "no_node": (PLAIN_PORT, lambda t, a: dataclasses.replace(a, option=swap(a.option, 5, b"\0")),
                "reject_malformed", "reject_malformed"),
    "version_2": (PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=swap(a.option, 4, bytes([a.option[4] & 15 | 32]))),
        "reject_malformed", "reject_malformed"),
    "two_options": (PLAIN_PORT, lambda t, a: dataclasses.replace(a, option=a.option + a.option),
                    "reject_malformed", "reject_malformed"),
    "form_not_offered": (PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=b"\xfd\x14" + EXID + bytes([0x17]) + a.option[5:8]
        + ipaddress.ip_address(virtual("ipv4")).packed + bytes(8)),
        "reject_form", "reject_not_pending"),
    "wrong_tag": (KEYED_PORT, lambda t, a: dataclasses.replace(
        a, option=a.option[:-1] + bytes([a.option[-1] ^ 1])), "reject_tag", "reject_tag"),
    "tag_of_another_backend": (KEYED_PORT, lambda t, a: dataclasses.replace(
        a, source=address(t.family, 12)), "reject_tag", "reject_tag"),
    "short_echo_of_a_keyed_service": (KEYED_PORT, lambda t, a: dataclasses.replace(
        a, option=b"\xfd\x04" + EXID), "reject_form", "reject_form"),
    "reset_with_wrong_tag": (KEYED_PORT, lambda t, a: dataclasses.replace(
        a, option=a.option[:-1] + bytes([a.option[-1] ^ 1]), flags="RA"),
        "reject_tag", "reject_tag"),
    "reset_from_outside": (PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, source=address(t.family, 13), option=b"", flags="RA"), "reject_prefix", "reject_prefix"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_counted_and_has_no_effect(topology, agent, family, name):
    port, forge, *counters = FORGERIES[name]
    counted = counters[FAMILIES.index(family)]
    with connecting(topology, family, port) as target:
        deltas = Deltas(agent)
        answer = good(topology, target)
        target.send(forge(target, answer))
        deltas.wait_for(counted)
        assert deltas.rejects() == {counted: 1}
        assert target.state == SYN_SENT
        target.send(answer)  # the real one still works
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        assert deltas.now()["redirected"] == 1
        assert target.socket.getpeername()[:2] == (virtual(family), port)


@pytest.mark.parametrize("key", KEYS, ids=["first", "second"])
def test_both_keys_of_a_service_are_accepted(topology, agent, family, key):
    with connecting(topology, family, KEYED_PORT) as target:
        assert len(target.offer()) == {"ipv4": 20, "ipv6": 16}[family]
        source = topology.backends[0].address(family)
        target.send(Answer(source, target.redirect(source, key)))
        wait_until(lambda: target.state == ESTABLISHED, "the connection")


def test_a_short_echo_redirects_a_plain_service(topology, agent, family):
    with connecting(topology, family, PLAIN_PORT) as target:
        deltas = Deltas(agent)
        target.send(dataclasses.replace(good(topology, target), option=b"\xfd\x04" + EXID))
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        assert deltas.now()["redirected_short"] == 1


def test_a_second_backend_comes_too_late(topology, agent, family):
    with connecting(topology, family, PLAIN_PORT) as target:
        deltas = Deltas(agent)
        answer = good(topology, target)
        target.send(answer)
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        target.send(dataclasses.replace(answer, source=address(family, 12)))
        wait_until(deltas.rejects, "a reject")
        # IPv6's form has no address that would find the socket once nothing is pending any more.
        assert deltas.rejects() == {"ipv4": {"reject_not_syn_sent": 1},
                                    "ipv6": {"reject_not_pending": 1}}[family]
        assert target.state == ESTABLISHED


def test_without_an_offer_there_is_no_redirect(topology, agent, family):
    with connecting(topology, family, NO_SERVICE_PORT) as target:
        deltas = Deltas(agent)
        assert target.offer() == b""
        option = {"ipv4": b"\xfd\x0c" + EXID + b"\x13\x07\0\x51"
                          + ipaddress.ip_address(virtual("ipv4")).packed,
                  "ipv6": b"\xfd\x10" + EXID + b"\x15\x07\0\x51" + bytes(8)}[family]
        target.send(Answer(topology.backends[0].address(family), option))
        deltas.wait_for("reject_not_pending")
        assert deltas.rejects() == {"reject_not_pending": 1}
        assert target.state == SYN_SENT


def test_an_ordinary_answer_is_none_of_our_business(topology, agent, family):
    with connecting(topology, family, NO_SERVICE_PORT) as target:
        deltas = Deltas(agent)
        target.send(Answer(virtual(family), b"", source_port=NO_SERVICE_PORT))
        wait_until(lambda: target.state == ESTABLISHED, "the connection")
        assert deltas.rejects() == {}
        assert not deltas.now().keys() & {"offered", "redirected", "established_without_redirect"}
