# SPDX-License-Identifier: Apache-2.0
"""Packets on a link, captured by tcpdump: the witness that is not part of Crab."""

import collections
import ipaddress
import pathlib
import re
import signal
import struct
from dataclasses import dataclass

from process import Daemon, wait_until
from sandbox import Namespace

FIN, SYN, RST, PSH, ACK = 0x01, 0x02, 0x04, 0x08, 0x10


@dataclass(frozen=True)
class Segment:
    """A TCP segment as captured; time in seconds since 1970."""
    time: float
    source: str
    source_port: int
    destination: str
    destination_port: int
    sequence: int
    flags: int
    options: bytes

    @property
    def is_syn(self) -> bool:
        return self.flags & (SYN | ACK) == SYN


def parse_frame(time: float, frame: bytes) -> Segment | None:
    """None for what is not TCP, or is cut before the end of its TCP header."""
    ether_type, ip = struct.unpack_from("!H", frame, 12)[0], frame[14:]
    if ether_type == 0x0800 and len(ip) >= 20 and ip[9] == 6:
        addresses, tcp = (ip[12:16], ip[16:20]), ip[(ip[0] & 15) * 4:]
    elif ether_type == 0x86DD and len(ip) >= 40 and ip[6] == 6:
        addresses, tcp = (ip[8:24], ip[24:40]), ip[40:]
    else:
        return None
    if len(tcp) < 20 or len(tcp) < (tcp[12] >> 4) * 4:
        return None
    source_port, destination_port, sequence = struct.unpack_from("!HHI", tcp)
    source, destination = (str(ipaddress.ip_address(a)) for a in addresses)
    return Segment(time, source, source_port, destination, destination_port, sequence, tcp[13],
                   tcp[20:(tcp[12] >> 4) * 4])


def read_frames(path: pathlib.Path) -> list[tuple[float, bytes]]:
    """All (time, frame) of a pcap file of this machine's byte order, Ethernet, microseconds."""
    data = path.read_bytes()
    magic, link_type = struct.unpack_from("=I", data)[0], struct.unpack_from("=I", data, 20)[0]
    if magic != 0xA1B2C3D4 or link_type != 1:
        raise ValueError(f"{path}: not a pcap file of Ethernet frames")
    frames, at = [], 24
    while at + 16 <= len(data):
        seconds, microseconds, n_captured, _ = struct.unpack_from("=IIII", data, at)
        if at + 16 + n_captured > len(data):
            break  # still being written
        frames.append((seconds + microseconds / 1e6, data[at + 16:at + 16 + n_captured]))
        at += 16 + n_captured
    return frames


class Capture:
    """A context manager; what was captured is there after its end.

    With direction "in" only what the interface receives, with "inout" also what leaves by it.
    """

    def __init__(self, where: Namespace, interface: str, expression: str = "tcp",
                 direction: str = "in"):
        self._where = where
        self._command = ["tcpdump", "-ni", interface, "-Q", direction, "-s", "192", "-B", "65536",
                         "-U", "--immediate-mode", "-Z", "root", "-w"]
        self._expression = expression
        self._path = pathlib.Path()
        self._daemon: Daemon | None = None
        self.segments: list[Segment] = []

    def __enter__(self) -> "Capture":
        n_before = len(list(self._where.sandbox.directory.glob("*.pcap")))
        self._path = self._where.sandbox.directory / f"{self._where.host}-{n_before}.pcap"
        self._daemon = self._where.start(f"tcpdump-{n_before}",
                                         [*self._command, self._path, self._expression])
        self._daemon.wait_ready(lambda: "listening on" in self._daemon.output())
        return self

    def wait_for(self, n_segments: int) -> None:
        """Waits until that many are captured."""
        wait_until(lambda: len(self._read()) >= n_segments, f"{n_segments} captured segments")

    def _read(self) -> list[Segment]:
        parsed = (parse_frame(time, frame) for time, frame in read_frames(self._path))
        return [segment for segment in parsed if segment]

    def __exit__(self, *_) -> None:
        self._daemon.stop(signal.SIGINT)
        n_dropped = re.search(r"(\d+) packets? dropped by kernel", self._daemon.output())
        if n_dropped is None or int(n_dropped[1]) != 0:
            raise RuntimeError(f"the capture is not whole:\n{self._daemon.output()}")
        self.segments = self._read()

    def per_connection(self) -> dict[tuple[str, int], list[Segment]]:
        """By source address and port, in the order captured."""
        connections = collections.defaultdict(list)
        for segment in self.segments:
            connections[segment.source, segment.source_port].append(segment)
        return dict(connections)
