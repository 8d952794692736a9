# SPDX-License-Identifier: Apache-2.0
"""The network that tests and demo run on: one link, as in a rack, out of namespaces and veth pairs.

     c1        c2              lb                     b1         b2         b3
   +------+  +------+  +------------------+        +-------+  +-------+  +-------+
   | curl |  | wrk  |  |     crab-lb      |        | nginx |  | nginx |  | nginx |
   |      |  |      |  | crab0 (TAP) .2   |        |       |  |       |  |       |
   | eth0 |  | eth0 |  | lb0 (no address) |        | eth0  |  | eth0  |  | eth0  |
   | .21  |  | .22  |  | VIP .100 on crab0|        | .11   |  | .12   |  | .13   |
   +--|---+  +--|---+  +--------|---------+        +--|----+  +--|----+  +--|----+
  ----+---------+---------------+---------------------+----------+----------+---- bridge br0,
                                                                              namespace `fabric`

10.0.0.0/24 and fd00:c4ab::/64; the last number of both addresses is the one drawn.
"""

import contextlib
from collections.abc import Iterator

from sandbox import Namespace, Sandbox

PREFIX = {"ipv4": "10.0.0.", "ipv6": "fd00:c4ab::"}
PREFIX_LENGTH = {"ipv4": 24, "ipv6": 64}
FAMILIES = ("ipv4", "ipv6")
APPLIANCE_NUMBER = 2
VIRTUAL_NUMBER = 100


def address(family: str, number: int) -> str:
    return f"{PREFIX[family]}{number}"


def with_length(family: str, number: int) -> str:
    return f"{address(family, number)}/{PREFIX_LENGTH[family]}"


def in_url(host: str) -> str:
    """An address as RFC 3986 wants it in a URL."""
    return f"[{host}]" if ":" in host else host


def virtual_address(family: str) -> str:
    return address(family, VIRTUAL_NUMBER)


class Host(Namespace):
    """A namespace with one link into the fabric."""

    def __init__(self, sandbox: Sandbox, name: str, number: int):
        super().__init__(sandbox, name)
        self.number = number

    def address(self, family: str) -> str:
        return address(family, self.number)


class Topology:
    """Made by create_topology()."""

    def __init__(self, sandbox: Sandbox, n_clients: int, n_backends: int, mtu: int):
        self.sandbox = sandbox
        self.mtu = mtu
        self.fabric = Namespace(sandbox, "fabric")
        self.fabric.run(["ip", "link", "add", "br0", "mtu", mtu, "type", "bridge",
                         "forward_delay", "0", "mcast_snooping", "0"])
        self.fabric.run(["ip", "link", "set", "br0", "up"])
        self.appliance = self.add_appliance("lb", APPLIANCE_NUMBER)
        self.backends = [self.add_host(f"b{i}", 10 + i) for i in range(1, n_backends + 1)]
        self.clients = [self.add_host(f"c{i}", 20 + i) for i in range(1, n_clients + 1)]

    def add_host(self, name: str, number: int) -> Host:
        host = self._add_linked(name, number, "eth0")
        for family in FAMILIES:
            # No duplicate address detection: an address is usable as soon as it is there.
            flags = ["nodad"] if family == "ipv6" else []
            host.run(["ip", "address", "add", with_length(family, number), "dev", "eth0", *flags])
        return host

    def add_appliance(self, name: str, number: int) -> Host:
        """Its link has no address: crab-lb polls it, and its addresses are on the TAP crab0."""
        host = self._add_linked(name, number, "lb0")
        host.run(["sysctl", "-qw", "net.ipv6.conf.lb0.disable_ipv6=1"])
        # A frame of TSO is longer than an mbuf. Checksums stay partial: crab-lb completes them.
        self.fabric.run(["ethtool", "-K", host.host, "tso", "off", "gso", "off"])
        return host

    def _add_linked(self, name: str, number: int, interface: str) -> Host:
        host = Host(self.sandbox, name, number)
        host.run(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0",
                  "net.ipv6.conf.default.accept_ra=0"])
        host.run(["ip", "link", "add", interface, "mtu", self.mtu, "type", "veth", "peer",
                  "name", name, "mtu", self.mtu, "netns", self.fabric.path])
        self.fabric.run(["ip", "link", "set", name, "master", "br0", "up"])
        host.run(["ip", "link", "set", interface, "up"])
        return host


@contextlib.contextmanager
def create_topology(n_clients: int = 2, n_backends: int = 3, mtu: int = 1500) -> Iterator[Topology]:
    """Everything made on it is removed at the end, however that comes."""
    with Sandbox() as sandbox:
        yield Topology(sandbox, n_clients, n_backends, mtu)
