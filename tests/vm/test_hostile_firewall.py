# SPDX-License-Identifier: Apache-2.0
"""Connection tracking at the client, which takes the backend's answer for a stranger's; backends
that refuse, by RST or by ICMP."""

import json

import pytest
from endpoint import Deltas
from forgery import ESTABLISHED, SYN_SENT
from process import wait_until
from rack import SERVICES

CONNECTION_REFUSED = 111
MENDED = "tcp option 253 exists accept"  # docs/endpoints.md
FIREWALL = """
table inet hostile {{
  chain input {{
    type filter hook input priority 0;
    {first}
    ct state invalid counter drop
  }}
}}
"""


REJECT = """
table inet rejecting {{
  chain input {{
    type filter hook input priority 0;
    tcp dport {port} reject with icmpx type port-unreachable
  }}
}}
"""


@pytest.fixture
def firewall(subject):
    guest = subject.client.guest

    def install(first: str) -> None:
        guest.run(["nft", "-f", "-"], input=FIREWALL.format(first=first))

    yield install
    guest.run(["nft", "delete", "table", "inet", "hostile"], check=False)


def n_invalid(subject) -> int:
    """Packets that the rule has dropped."""
    done = subject.client.guest.run(["nft", "-j", "list", "chain", "inet", "hostile", "input"])
    return sum(expression["counter"]["packets"]
               for item in json.loads(done.stdout)["nftables"] if "rule" in item
               for expression in item["rule"]["expr"] if "counter" in expression)


def test_a_rule_against_invalid_packets_stops_redirects_until_it_is_mended(subject, firewall,
                                                                            family):
    """The firewall has the first word: a redirect that it drops is none."""
    guest = subject.client.guest
    firewall("")
    number = guest.call("connections.begin_connect", subject.virtual_address(family),
                        SERVICES["plain"].port)
    wait_until(lambda: n_invalid(subject) > 0, "a SYN-ACK to be taken for invalid", 240)
    assert guest.call("connections.state", number) == SYN_SENT
    guest.run(["nft", "insert", "rule", "inet", "hostile", "input", *MENDED.split()])
    # By the next SYN-ACK: of a retransmitted SYN, or retransmitted itself.
    wait_until(lambda: guest.call("connections.state", number) == ESTABLISHED, "the connection",
               240)
    guest.call("connections.transfer", number, 1 << 16, 1 << 16)
    guest.call("connections.close", number)


def test_the_documented_rule_mends_it(subject, firewall, family):
    firewall(MENDED)
    subject.move(family)
    assert n_invalid(subject) == 0


@pytest.mark.parametrize("paper", [False, True], ids=["crab", "paper"])
def test_with_conntrack_alone_nothing_is_lost(subject, firewall, paper):
    firewall("accept")
    subject.move("ipv4", "paper" if paper else "plain", subject.many_bytes)


def test_a_refusing_backend_is_told_at_once(subject, family):
    deltas = Deltas(subject.client)
    guest = subject.client.guest
    error = guest.call("connections.connect_error", subject.virtual_address(family),
                       SERVICES["refusing"].port)
    assert error == CONNECTION_REFUSED
    assert deltas.now()["refused"] >= 1


def test_a_rejecting_firewall_is_told_by_icmp(subject, family):
    """The error quotes the SYN as the appliance sent it on, with the backend's address."""
    server, deltas = subject.server.guest, Deltas(subject.client)
    server.run(["nft", "-f", "-"], input=REJECT.format(
        port=SERVICES["refusing"].backend_port))
    try:
        error = subject.client.guest.call("connections.connect_error",
                                          subject.virtual_address(family),
                                          SERVICES["refusing"].port)
    finally:
        server.run(["nft", "delete", "table", "inet", "rejecting"])
    assert error == CONNECTION_REFUSED
    assert deltas.now()["icmp"] >= 1


def test_the_attempt_is_alone_with_its_port(subject, family):
    """A connection and an attempt to another service from one bound port: each keeps its own."""
    guest = subject.client.guest
    first = guest.call("connections.connect", subject.virtual_address(family),
                       SERVICES["plain"].port, source_port=21000)
    second = guest.call("connections.connect", subject.virtual_address(family),
                        SERVICES["keyed"].port, source_port=21000)
    for number in first, second:
        guest.call("connections.transfer", number, 1 << 16, 1 << 16)
        guest.call("connections.close", number)
