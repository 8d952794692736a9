# SPDX-License-Identifier: Apache-2.0
"""The network of the vm tier: guests and the real crab-lb on one link.

        guests                    network namespaces of this machine
   c1, c2     b1, b2                lb            attacker
  +-------+  +-------+      +--------------+     +---------+
  |client |  |server |      |   crab-lb    |     | frames  |
  |       |  |       |      |     crab0 .2 |     | by hand |
  | eth0  |  | eth0  |      | VIP .151,... |     |   eth0  |
  |.21 .22|  |.11 .12|      |     lb0      |     |   .31   |
  +--|----+  +--|----+      +------|-------+     +----|----+
  ---+ tap -----+ tap -------------+ veth ------------+------- bridge br0 in namespace `fabric`

Clients are .21 and up, backends .11 and up. Backend bN has the virtual addresses .150+N to itself,
so that a test chooses its server by its destination. Addresses as in tests/netns/topology.py.
"""

import contextlib
import dataclasses
from collections.abc import Iterator

from crab import CrabLb, configuration, service
from guest import Guest
from kernel import kernel
from topology import FAMILIES, Topology, address, create_topology

ATTACKER_NUMBER = 31


@dataclasses.dataclass(frozen=True)
class Offered:
    """A service that each backend has in each of the families."""
    port: int
    backend_port: int
    families: tuple[str, ...] = FAMILIES
    fields: dict = dataclasses.field(default_factory=dict)
    listens: bool = True  # a server of in_guest/connections.py


KEY, OTHER_KEY = "000102030405060708090a0b0c0d0e0f", "6465666768696a6b6c6d6e6f70717273"
SERVICES = {
    "plain": Offered(80, 8080),
    "keyed": Offered(443, 8443, fields={"keys": [KEY]}),
    # The paper's servers cannot tell the ports apart, so they are the same.
    "paper": Offered(9000, 9000, ("ipv4",), {"option_form": "paper"}),
    "refusing": Offered(81, 8081, listens=False),
    "closing": Offered(82, 8082),  # the server closes first
}


def virtual_address(server: Guest, family: str) -> str:
    return address(family, 140 + server.number)


def services_of(server: Guest) -> list[dict]:
    return [service(family, [server], name=f"{name}-{server.host}-{family}", port=offered.port,
                    backend_port=offered.backend_port)
            | {"address": virtual_address(server, family)} | offered.fields
            for name, offered in SERVICES.items() for family in offered.families]


class Rack:
    """Made by create_rack(). Guests boot side by side; start_appliance() once they have."""

    def __init__(self, topology: Topology):
        self.topology = topology
        self.sandbox = topology.sandbox
        self.fabric = topology.fabric
        self.guests: list[Guest] = []
        self.lb: CrabLb | None = None

    def add_guest(self, name: str, number: int, kernel_name: str, **options: int) -> Guest:
        guest = Guest(self.sandbox, name, kernel(kernel_name), namespace=self.fabric,
                      number=number, **options)
        self.guests.append(guest)
        return guest

    def start_appliance(self, servers: list[Guest]) -> CrabLb:
        """Waits for the guests first: their addresses must answer before they are eligible."""
        for guest in self.guests:
            guest.wait_booted()
        for server in servers:
            for name, offered in SERVICES.items():
                if offered.listens:
                    server.call("connections.listen", offered.backend_port,
                                closes_at_once=name == "closing")
        content = configuration(self.topology, [s for g in servers for s in services_of(g)])
        self.lb = CrabLb(self.topology, content).start()
        return self.lb


@contextlib.contextmanager
def create_rack() -> Iterator[Rack]:
    """Everything made on it is removed at the end, however that comes."""
    with create_topology(n_clients=0, n_backends=0) as topology:
        yield Rack(topology)
