# SPDX-License-Identifier: Apache-2.0
"""Forged answers to SYNs, for every endpoint of Crab: what an attacker may try, and what counts it.

The attacker gets the SYNs of a virtual address and answers them by hand: there is no appliance.
"""

import dataclasses
import ipaddress
import struct
from collections.abc import Callable
from typing import Protocol

from capture import Segment, parse_frame
from endpoint import frame_socket, mac_of
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from tag import tag
from topology import FAMILIES, Host, address

VIRTUAL_NUMBER = 101
PLAIN_PORT, KEYED_PORT, NO_SERVICE_PORT = 80, 443, 81
BACKEND_PORT = 8080
KEYS = [bytes(range(16)), bytes(range(100, 116))]
EXID = b"\xc4\xab"
CLOSED, SYN_SENT, ESTABLISHED = 7, 2, 1
# Where backends may be, and beyond. Nobody else has these addresses: a real host would reset the
# connections that it is said to have accepted.
ALLOWED_NUMBERS, FORBIDDEN_NUMBER = (31, 32), 33


def virtual(family: str) -> str:
    return address(family, VIRTUAL_NUMBER)


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the attacker (or the backend) sends to a SYN."""
    source: str
    option: bytes
    acknowledged: int = 1  # beyond the ISN
    source_port: int = BACKEND_PORT
    flags: str = "SA"


class Attempt(Protocol):
    """A socket that tries to connect, wherever it is."""

    def local_port(self) -> int: ...
    def state(self) -> int: ...  # as TCP_INFO has it
    def peer(self) -> tuple[str, int]: ...
    def close(self) -> None: ...


class Target:
    """A connection attempt, its SYN, and the means to answer it."""

    def __init__(self, attacker: Host, client_mac: str, family: str, port: int,
                 attempt: Callable[[str, int], Attempt]):
        self.family, self.port = family, port
        self._macs = client_mac, mac_of(attacker)
        self.wire = frame_socket(attacker)
        self.attempt = attempt(virtual(family), port)
        self.syn = self._receive_syn()

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, *_) -> None:
        self.wire.close()
        self.attempt.close()

    def _receive_syn(self) -> Segment:
        port = self.attempt.local_port()
        while True:
            seen = parse_frame(0, self.wire.recv(2048))
            if seen and seen.is_syn and seen.source_port == port:
                return seen

    @property
    def state(self) -> int:
        return self.attempt.state()

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

    def good(self) -> Answer:
        """What an allowed backend would send."""
        source = address(self.family, ALLOWED_NUMBERS[0])
        return Answer(source, self.redirect(source, KEYS[0] if self.port == KEYED_PORT else None))

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


def lure(client: Host, attacker: Host) -> None:
    """What the client sends to the virtual addresses and to their backends, the attacker gets. Its
    kernel knows nothing of the connections that the test answers, and must not reset them."""
    for family in FAMILIES:
        for number in VIRTUAL_NUMBER, *ALLOWED_NUMBERS:
            client.run(["ip", "neigh", "replace", address(family, number), "lladdr",
                        mac_of(attacker), "dev", "eth0"])
    attacker.run(["nft", "add table inet quiet; add chain inet quiet out "
                  "{ type filter hook output priority 0; }; "
                  "add rule inet quiet out tcp flags rst drop"])


def _swap(option: bytes, at: int, replacement: bytes) -> bytes:
    return option[:at] + replacement + option[at + len(replacement):]


def _another_address(family: str, option: bytes) -> bytes:
    """The address of another service, or, where the form has none, another port."""
    return (_swap(option, 8, b"\x0a\x00\x00\x63") if family == "ipv4"
            else _swap(option, 6, b"\0\x51"))


@dataclasses.dataclass(frozen=True)
class Forgery:
    """port of the service, what is wrong, and the counter for IPv4 and for IPv6."""
    port: int
    forge: Callable[[Target, Answer], Answer]
    ipv4: str
    ipv6: str

    def counter(self, family: str) -> str:
        return self.ipv4 if family == FAMILIES[0] else self.ipv6


def _alike(port: int, forge: Callable[[Target, Answer], Answer], counter: str) -> Forgery:
    return Forgery(port, forge, counter, counter)


FORGERIES = {
    "ack_beyond": Forgery(PLAIN_PORT, lambda t, a: dataclasses.replace(a, acknowledged=2),
                          "reject_bad_ack", "reject_not_pending"),
    "ack_of_nothing": Forgery(PLAIN_PORT, lambda t, a: dataclasses.replace(a, acknowledged=0),
                              "reject_bad_ack", "reject_not_pending"),
    "outside_prefixes": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, source=address(t.family, FORBIDDEN_NUMBER)), "reject_prefix"),
    "another_service": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=_another_address(t.family, a.option)), "reject_not_pending"),
    "unfilled": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(a, option=t.offer()),
                       "reject_unfilled"),
    "no_node": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=_swap(a.option, 5, b"\0")), "reject_malformed"),
    "version_2": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=_swap(a.option, 4, bytes([a.option[4] & 15 | 32]))), "reject_malformed"),
    "two_options": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=a.option + a.option), "reject_malformed"),
    "form_not_offered": Forgery(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, option=b"\xfd\x14" + EXID + bytes([0x17]) + a.option[5:8]
        + ipaddress.ip_address(virtual("ipv4")).packed + bytes(8)),
        "reject_form", "reject_not_pending"),
    "wrong_tag": _alike(KEYED_PORT, lambda t, a: dataclasses.replace(
        a, option=a.option[:-1] + bytes([a.option[-1] ^ 1])), "reject_tag"),
    "tag_of_another_backend": _alike(KEYED_PORT, lambda t, a: dataclasses.replace(
        a, source=address(t.family, ALLOWED_NUMBERS[1])), "reject_tag"),
    "short_echo_of_a_keyed_service": _alike(KEYED_PORT, lambda t, a: dataclasses.replace(
        a, option=b"\xfd\x04" + EXID), "reject_form"),
    "reset_with_wrong_tag": _alike(KEYED_PORT, lambda t, a: dataclasses.replace(
        a, option=a.option[:-1] + bytes([a.option[-1] ^ 1]), flags="RA"), "reject_tag"),
    "reset_from_outside": _alike(PLAIN_PORT, lambda t, a: dataclasses.replace(
        a, source=address(t.family, FORBIDDEN_NUMBER), option=b"", flags="RA"), "reject_prefix"),
}


def stray_option(family: str) -> bytes:
    """A redirect to a connection that offered nothing."""
    return {"ipv4": b"\xfd\x0c" + EXID + b"\x13\x07\0\x51"
                    + ipaddress.ip_address(virtual("ipv4")).packed,
            "ipv6": b"\xfd\x10" + EXID + b"\x15\x07\0\x51" + bytes(8)}[family]
