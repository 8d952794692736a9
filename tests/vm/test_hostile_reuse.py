# SPDX-License-Identifier: Apache-2.0
"""Ports used again and again, and sockets that their user holds when the answer comes."""

import pytest
from endpoint import Deltas
from process import wait_until
from rack import SERVICES

LOW, HIGH = 20000, 20199
TOO_FEW_PORTS = "[Errno 99] Cannot assign requested address"


@pytest.fixture
def n_connects(subject) -> int:
    return 300 if subject.is_debug else 10_000


@pytest.fixture
def few_ports(subject):
    guest = subject.client.guest
    before = guest.call("kernel_files.read", "/proc/sys/net/ipv4/ip_local_port_range")
    guest.call("kernel_files.write", "/proc/sys/net/ipv4/ip_local_port_range", f"{LOW} {HIGH}")
    yield
    guest.call("kernel_files.write", "/proc/sys/net/ipv4/ip_local_port_range", before)


def rejects(deltas: Deltas) -> dict[str, int]:
    """Without the SYN-ACKs that were sent again because the machine is slow, and came too late."""
    late = ("reject_not_syn_sent", "reject_not_pending")
    return {name: n for name, n in deltas.rejects().items() if name not in late}


def connect_many(subject, family: str, name: str, n: int, client_closes: bool) -> dict[str, int]:
    return subject.client.guest.call("connections.connect_many", subject.virtual_address(family),
                                     SERVICES[name].port, n, client_closes, deadline_s=500)


def test_servers_close_first_and_two_hundred_ports_are_enough(subject, few_ports, family,
                                                              n_connects):
    """Each port is taken dozens of times, its last connection in TIME-WAIT at the server."""
    deltas = Deltas(subject.client)
    assert connect_many(subject, family, "closing", n_connects, False) == {}
    assert deltas.now()["redirected"] == n_connects
    assert rejects(deltas) == {}


def test_clients_close_first(subject, family, n_connects):
    """Every port is then in TIME-WAIT at the client, on the backend's tuple, not the service's."""
    deltas = Deltas(subject.client)
    assert connect_many(subject, family, "plain", n_connects, True) == {}
    assert deltas.now()["redirected"] == n_connects
    assert rejects(deltas) == {}


def test_clients_close_first_and_ports_run_out(subject, few_ports, family):
    """The price of re-keying, stated: connect() then says so. No connection meets another's."""
    deltas = Deltas(subject.client)
    failures = connect_many(subject, family, "plain", 1000, True)
    assert set(failures) <= {TOO_FEW_PORTS}
    assert deltas.now().get("redirected", 0) + sum(failures.values()) == 1000
    assert rejects(deltas) == {}


def test_a_bound_port_connects_again_at_once(subject, family):
    """bind() before connect(): the kernel does not choose the port, and servers close first."""
    guest, closing = subject.client.guest, SERVICES["closing"]
    deltas = Deltas(subject.client)
    for _ in range(20):
        number = guest.call("connections.connect", subject.virtual_address(family), closing.port,
                            source_port=20555)
        guest.call("connections.wait_end", number)
        guest.call("connections.close", number)
    assert deltas.now()["redirected"] == 20


@pytest.mark.module_only
def test_sockets_that_are_busy_are_deferred(subject, family):
    """connect() holds its socket while it sends the SYN, and the answer may come before it lets go:
    how often is the machine's mood, so we go on until it has happened."""
    deltas = Deltas(subject.client)

    def has_deferred() -> bool:
        assert connect_many(subject, family, "closing", 50, False) == {}
        return deltas.now().get("deferred", 0) >= 5

    wait_until(has_deferred, "five busy sockets", 400)
    assert rejects(deltas) == {}
    subject.move(family, n_bytes=subject.many_bytes)
