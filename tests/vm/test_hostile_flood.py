# SPDX-License-Identifier: Apache-2.0
"""SYN floods with redirect options, and SYN cookies."""

import pytest
from endpoint import Deltas
from flood import Flood, answer_to
from process import wait_until
from rack import SERVICES
from subject import mac_of_guest
from topology import FAMILIES

PLAIN = SERVICES["plain"]


@pytest.fixture
def flood(subject, family):
    server = subject.server.guest
    server.run(["ip", "-batch", "-"], input="\n".join(answer_to(subject.attacker, family)))
    return Flood(subject.attacker, mac_of_guest(server),
                 (subject.virtual_address(family), PLAIN.port),
                 (server.address(family), PLAIN.backend_port),
                 frames_per_second=50 if subject.is_debug else 5000)


@pytest.fixture
def n_flooded(subject) -> int:
    return 300 if subject.is_debug else 5000


def test_real_connections_go_on_in_a_flood(subject, flood, n_flooded, family):
    deltas = Deltas(subject.server)
    n_echoes = []
    with flood:
        wait_until(lambda: deltas.now().get("redirect_seen", 0) >= n_flooded / 2, "the flood",
                   240)
        for _ in range(10):
            subject.move(family)
            n_echoes.append(subject.server.info())
        wait_until(lambda: deltas.now().get("redirect_seen", 0) >= n_flooded, "the flood", 240)
    for info in n_echoes:
        # The patched stack keeps the option in the request, which the backlog bounds.
        assert info["n_echoes"] <= (info["max_echoes"] or 4096)
    assert deltas.now()["echoed"] >= n_flooded / 2
    subject.move(family)


def test_syn_cookies(subject, family):
    server = subject.server.guest
    server.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=2"])
    try:
        sent = cookies_sent(server)
        for name in SERVICES["plain"], SERVICES["keyed"]:
            deltas = Deltas(subject.server)
            subject.move(family, "plain" if name is PLAIN else "keyed", subject.many_bytes)
            assert deltas.now()["echoed"] >= 1
        assert cookies_sent(server) >= sent + 2
    finally:
        server.run(["sysctl", "-qw", "net.ipv4.tcp_syncookies=1"])


def cookies_sent(server) -> int:
    names, values = [line.split() for line in server.call("kernel_files.read", "/proc/net/netstat")
                     .splitlines() if line.startswith("TcpExt:")]
    return int(values[names.index("SyncookiesSent")])


def test_what_never_came_to_a_connection_is_forgotten(subject):
    """After all floods, so that their 70 seconds are waited for once."""
    wait_until(lambda: subject.server.info()["n_echoes"] == 0, "the table to be empty", 400)
    for family in FAMILIES:
        subject.move(family)
    assert subject.server.info()["n_echoes"] == 0
