# SPDX-License-Identifier: Apache-2.0
"""A flood of SYNs with redirect options, as if appliances had sent them, for a server to bear."""

import ipaddress
import itertools
import struct
import threading
from collections.abc import Iterator

from endpoint import frame_socket, mac_of
from topology import Host, address

# Documentation's and benchmarks' addresses (RFC 2544, RFC 3849): nobody's here.
SOURCES = {"ipv4": "198.18.0.0/15", "ipv6": "2001:db8::/64"}
# A tap's queue is 1,000 frames.
_BURSTS_PER_SECOND = 50
_EXID = b"\xc4\xab"


def _sum(data: bytes) -> int:
    return sum(struct.unpack(f">{len(data) // 2}H", data))


def _fold(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def syn_frames(destination_mac: str, source_mac: str, virtual: tuple[str, int],
               backend: tuple[str, int]) -> Iterator[bytes]:
    """Endless, each from another source; whole and right in every header."""
    target = ipaddress.ip_address(backend[0])
    family = f"ipv{target.version}"
    network = ipaddress.ip_network(SOURCES[family])
    ethernet = (bytes.fromhex(destination_mac.replace(":", ""))
                + bytes.fromhex(source_mac.replace(":", ""))
                + (b"\x08\x00" if target.version == 4 else b"\x86\xdd"))
    option = _EXID + (b"\x13" if target.version == 4 else b"\x15") + b"\x01" + struct.pack(
        ">H", virtual[1])
    option += ipaddress.ip_address(virtual[0]).packed if target.version == 4 else bytes(8)
    option = bytes([253, len(option) + 2]) + option
    for i in itertools.count():
        source = network[1 + i % 65000].packed
        tcp = struct.pack(">HHIIHHHH", 1024 + i // 65000 % 60000, backend[1], i * 7919 % 2**32, 0,
                          (20 + len(option)) // 4 << 12 | 2, 65535, 0, 0) + option
        pseudo = source + target.packed + struct.pack(">II", len(tcp), 6)
        tcp = tcp[:16] + struct.pack(">H", _fold(_sum(pseudo + tcp))) + tcp[18:]
        if target.version == 4:
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), i & 0xFFFF, 0, 64, 6, 0)
            ip += source + target.packed
            ip = ip[:10] + struct.pack(">H", _fold(_sum(ip))) + ip[12:]
        else:
            ip = struct.pack(">IHBB", 0x60000000, len(tcp), 6, 64) + source + target.packed
        yield ethernet + ip + tcp


class Flood:
    """A context manager: floods a server from a host until its end."""

    def __init__(self, attacker: Host, server_mac: str, virtual: tuple[str, int],
                 backend: tuple[str, int], frames_per_second: int):
        """No faster than the emulated server can take frames beside its other work: one that never
        comes to answering ARP is rightly taken out of service."""
        self._n_at_once = frames_per_second // _BURSTS_PER_SECOND
        self._frames = syn_frames(server_mac, mac_of(attacker), virtual, backend)
        self._wire = frame_socket(attacker)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def _send(self) -> None:
        while not self._end.is_set():
            for frame in itertools.islice(self._frames, self._n_at_once):
                self._wire.send(frame)
            self._end.wait(1 / _BURSTS_PER_SECOND)

    def __enter__(self) -> "Flood":
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._end.set()
        self._thread.join()
        self._wire.close()


def answer_to(attacker: Host, family: str) -> list[str]:
    """`ip` commands of a server, by which what it answers to the flood goes to the attacker."""
    return [f"route replace {SOURCES[family]} via {address(family, attacker.number)}"]
