# SPDX-License-Identifier: Apache-2.0
"""What the hostile cases are tried on: a client's and a server's guest with the same kernel and the
endpoint of that kernel, configured by generic netlink alone, and an attacker on the link."""

import pathlib

from endpoints import MODULE
from forgery import ALLOWED_NUMBERS, KEYED_PORT, KEYS, PLAIN_PORT, Target, lure, virtual
from guest import Guest
from module import build_module
from rack import ATTACKER_NUMBER, KEY, SERVICES, Rack, virtual_address
from topology import FAMILIES, address

CLIENT, SERVER = 1, 2
PAPER_FORM = 6


def form(family: str, keyed: bool) -> int:
    """The length of the option."""
    return {"ipv4": 20 if keyed else 12, "ipv6": 16}[family]


class Side:
    """A guest and its kernel's endpoint."""

    def __init__(self, guest: Guest, module: pathlib.Path | None):
        self.guest = guest
        self.module = module

    def load(self) -> None:
        if self.module:
            self.guest.run(["insmod", self.module])

    def unload(self) -> None:
        if self.module:
            self.guest.run(["rmmod", MODULE])

    def configure(self, roles: int, services: list[list] = (), prefixes: list[str] = ()) -> None:
        self.guest.call("redirect.configure", roles, services, prefixes)

    def counters(self) -> dict[str, int]:
        return self.guest.call("redirect.counters")

    def info(self) -> dict:
        return self.guest.call("redirect.info")


class GuestAttempt:
    """forgery.Attempt of a guest."""

    def __init__(self, guest: Guest, host: str, port: int):
        self._guest = guest
        self._number = guest.call("connections.begin_connect", host, port)

    def local_port(self) -> int:
        return self._guest.call("connections.local_port", self._number)

    def state(self) -> int:
        return self._guest.call("connections.state", self._number)

    def peer(self) -> tuple[str, int]:
        return tuple(self._guest.call("connections.names", self._number)["peer"])

    def close(self) -> None:
        self._guest.call("connections.abort", self._number)


class Subject:
    def __init__(self, rack: Rack, kernel_name: str):
        self.kernel_name = kernel_name
        self.is_debug = kernel_name == "debug"
        self.is_module = kernel_name != "patched"
        # The debug kernel under emulation is slower by ten: enough to fill windows all the same.
        self.many_bytes = 1 << 20 if self.is_debug else 10 << 20
        options = {"n_cpus": 2, "memory_mib": 2048 if self.is_debug else 768}
        clients = rack.add_guest("c1", 21, kernel_name, **options)
        servers = rack.add_guest("b1", 11, kernel_name, **options)
        module = build_module(kernel_name, rack.sandbox) if self.is_module else None
        self.rack = rack
        self.attacker = rack.topology.add_host("attacker", ATTACKER_NUMBER)
        self.client, self.server = Side(clients, module), Side(servers, module)
        self.lb = rack.start_appliance([servers])
        lure(clients, self.attacker)
        self.client.load()
        self.server.load()

    def services(self) -> list[list]:
        """As the client offers to them: the appliance's, and those that the attacker answers."""
        found = [[virtual(family), port, form(family, bool(keys)), keys] for family in FAMILIES
                 for port, keys in ((PLAIN_PORT, []), (KEYED_PORT, [key.hex() for key in KEYS]))]
        for name, offered in SERVICES.items():
            keys = [KEY] if name == "keyed" else []
            found += [[self.virtual_address(family), offered.port,
                       PAPER_FORM if name == "paper" else form(family, bool(keys)), keys]
                      for family in offered.families]
        return found

    def prefixes(self) -> list[str]:
        return [f"{address(family, number)}/{32 if family == 'ipv4' else 128}"
                for number in (*ALLOWED_NUMBERS, self.server.guest.number) for family in FAMILIES]

    def configure(self) -> None:
        """As every test finds it."""
        self.client.configure(CLIENT, self.services(), self.prefixes())
        self.server.configure(SERVER)

    def virtual_address(self, family: str) -> str:
        return virtual_address(self.server.guest, family)

    def target(self, family: str, port: int) -> Target:
        """A connection attempt that the attacker answers."""
        return Target(self.attacker, mac_of_guest(self.client.guest), family, port,
                      lambda host, port: GuestAttempt(self.client.guest, host, port))

    def move(self, family: str, name: str = "plain", n_bytes: int = 1 << 16) -> None:
        """A connection through the appliance: redirected, intact and closed."""
        redirected = self.client.counters()["redirected"]
        guest, offered = self.client.guest, SERVICES[name]
        number = guest.call("connections.connect", self.virtual_address(family), offered.port)
        assert guest.call("connections.names", number)["peer"] == [
            self.server.guest.address(family), offered.backend_port]
        guest.call("connections.transfer", number, n_bytes, n_bytes)
        guest.call("connections.close", number)
        assert self.client.counters()["redirected"] > redirected


def mac_of_guest(guest: Guest) -> str:
    """As guest.Guest gives it to QEMU."""
    return f"02:00:00:00:00:{guest.number:02x}"
