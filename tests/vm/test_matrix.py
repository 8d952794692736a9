# SPDX-License-Identifier: Apache-2.0
"""Every client's endpoint with every server's, through the real appliance: each cell a test.

Its name is client-server-service-family. `paper` is the service whose option is the paper's (IPv4
only), `keyed` the one with tags: 20 bytes of option in IPv4, 16 in IPv6.
"""

import pytest
from capture import RST, Capture
from endpoints import EBPF, KERNEL_OF, KINDS, Endpoint
from guest import Guest
from module import build_module
from process import wait_until
from rack import SERVICES, Rack, virtual_address
from topology import in_url

UPLOAD_BYTES, DOWNLOAD_BYTES = 1 << 20, 10 << 20
CELLS = [(server, client, name, family) for server in KINDS for client in KINDS
         for name in ("plain", "keyed", "paper") for family in SERVICES[name].families]
NODE = "1"


class Ends:
    """The guests, and the endpoint that each of them has at the moment."""

    def __init__(self, rack: Rack):
        self.rack = rack
        self._guests = {("client", "stock"): rack.add_guest("c1", 21, "stock"),
                        ("client", "patched"): rack.add_guest("c2", 22, "patched"),
                        ("server", "stock"): rack.add_guest("b1", 11, "stock"),
                        ("server", "patched"): rack.add_guest("b2", 12, "patched")}
        self._module = build_module("stock", rack.sandbox)
        self.lb = rack.start_appliance([self._guests["server", "stock"],
                                        self._guests["server", "patched"]])
        self._installed: dict[Guest, Endpoint] = {}

    def get(self, role: str, kind: str) -> Endpoint:
        guest = self._guests[role, KERNEL_OF[kind]]
        installed = self._installed.get(guest)
        if installed and installed.kind != kind:
            installed.remove()
            installed = None
        if not installed:
            installed = Endpoint(guest, kind, role, self.lb.path, self._module)
            self._installed[guest] = installed
        return installed


@pytest.fixture(scope="module")
def ends(rack: Rack) -> Ends:
    return Ends(rack)


def rows(guest: Guest, expression: str) -> list[list[str]]:
    """State, local and peer's address of the sockets that match, as ss shows them."""
    shown = guest.run(["ss", "-Htan", expression]).stdout.replace("::ffff:", "")
    found = [line.split() for line in shown.splitlines()]
    return [[row[0], *(end.replace("]", "").replace("[", "") if "." in end else end
                       for end in row[3:5])] for row in found if row[0] != "LISTEN"]


def named(address: str, port: int) -> str:
    return f"{in_url(address)}:{port}"


@pytest.mark.parametrize("server_kind,client_kind,name,family", CELLS,
                         ids=[f"{c}-{s}-{n}-{f}" for s, c, n, f in CELLS])
def test_cell(rack, ends, server_kind, client_kind, name, family):
    server, client = ends.get("server", server_kind), ends.get("client", client_kind)
    service, virtual = SERVICES[name], virtual_address(server.guest, family)
    before = client.counters(), server.accepted(service.backend_port), ends.lb.verdicts()
    with Capture(rack.fabric, "lb", direction="inout") as at_appliance, \
            Capture(rack.fabric, client.guest.host, reset_expression(), "inout") as resets:
        for server_closes in (False, True):
            connect_and_move(server.guest, client, service, virtual, family, server_closes)
    assert [s for s in resets.segments if s.flags & RST] == []

    backend = server.guest.address(family)
    came = [s for s in at_appliance.segments if s.destination == virtual]
    went = [s for s in at_appliance.segments if s.destination == backend]
    assert len(at_appliance.segments) == len(came) + len(went), "the appliance saw something else"
    assert all(s.is_syn for s in at_appliance.segments), "the appliance saw more than SYNs"
    isns = {s.sequence for s in came}
    assert len(isns) == 2 and isns == {s.sequence for s in went}
    verdicts = {v: n - before[2][v] for v, n in ends.lb.verdicts().items()
                if n != before[2][v] and v != "host"}
    assert verdicts == {"redirected": len(came)}

    counters = client.counters()
    assert counters["redirected"] - before[0]["redirected"] == 2
    total, by_node = server.accepted(service.backend_port)
    assert total - before[1][0] == 2
    # The paper's option names no node.
    assert by_node.get(NODE, 0) - before[1][1].get(NODE, 0) == (0 if name == "paper" else 2)


def reset_expression() -> str:
    """Resets in either family; tcp[] reads no IPv6."""
    return "tcp[tcpflags] & tcp-rst != 0 or (ip6 and ip6[6] == 6 and ip6[53] & 4 != 0)"


def connect_and_move(server: Guest, client: Endpoint, service, virtual: str, family: str,
                     server_closes: bool) -> None:
    guest, backend = client.guest, server.address(family)
    number = guest.call("connections.connect", virtual, service.port)
    names = guest.call("connections.names", number)
    ours = f"sport = :{names['port']}"
    peer = (virtual, service.port) if client.kind == EBPF else (backend, service.backend_port)
    assert (names["peer"][0], names["peer"][1]) == peer
    assert rows(guest, ours) == [["ESTAB", named(guest.address(family), names["port"]),
                                  named(*peer)]]
    theirs = f"sport = :{service.backend_port}"
    assert ["ESTAB", named(backend, service.backend_port),
            named(guest.address(family), names["port"])] in rows(server, theirs)
    guest.call("connections.transfer", number, UPLOAD_BYTES, DOWNLOAD_BYTES, server_closes)
    guest.call("connections.close", number)
    for where, expression in (guest, ours), (server, f"dport = :{names['port']}"):
        wait_until(lambda: all(row[0] == "TIME-WAIT" for row in rows(where, expression)),
                   f"the connection to end in {where.host}")


def test_refused_at_once(ends, family):
    """In every endpoint: the client's connect() fails by the backend's RST, without a time-out."""
    for kind in KINDS:
        server = ends.get("server", kind)
        for client_kind in KINDS:
            client = ends.get("client", client_kind)
            before = client.counters()["refused"]
            error = client.guest.call("connections.connect_error",
                                      virtual_address(server.guest, family),
                                      SERVICES["refusing"].port)
            assert error == 111, f"{client_kind} to {kind}"
            assert client.counters()["refused"] > before, f"{client_kind} to {kind}"
