# SPDX-License-Identifier: Apache-2.0
"""Keyed services end to end: the appliance makes the tags, the client checks them."""

import errno
import select

import pytest
from crab import VIRTUAL_PORT, CrabLb, configuration, service
from endpoint import Agent, Deltas, tcp_socket
from load import run_short
from topology import FAMILIES, virtual_address
from web import WebServer

OLD, NEW, OTHER = bytes(range(16)).hex(), bytes(range(16, 32)).hex(), bytes(range(32, 48)).hex()


def content(topology, keys: list[str]) -> dict:
    services = [service(family, topology.backends[:1]) | {"keys": keys} for family in FAMILIES]
    return configuration(topology, services)


@pytest.fixture(scope="module")
def lb(topology):
    """It makes tags with the new key."""
    made = CrabLb(topology, content(topology, [NEW, OLD]))
    WebServer(topology.backends[0])
    made.start()
    server = Agent(topology.backends[0], "server", made.path)
    yield made
    server.remove()


def client_agent(topology, keys: list[str]) -> Agent:
    return Agent(topology.clients[0], "client", {"services": content(topology, keys)["services"]})


@pytest.mark.parametrize("keys", [[NEW], [NEW, OLD], [OLD, NEW]], ids=["new", "both", "not_first"])
def test_the_tag_is_right_under_either_key(topology, lb, family, keys):
    agent = client_agent(topology, keys)
    try:
        done = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 100)
        assert (done.by_backend, done.failures) == ({"b1": 100}, {})
        counters = agent.counters()
        assert counters["redirected"] == 100 and counters["reject_tag"] == 0
    finally:
        agent.remove()


def test_a_tag_under_another_key_is_refused(topology, lb, family):
    agent = client_agent(topology, [OLD, OTHER])
    try:
        deltas = Deltas(agent)
        with tcp_socket(topology.clients[0], family) as s:
            s.setblocking(False)
            assert s.connect_ex((virtual_address(family), VIRTUAL_PORT)) == errno.EINPROGRESS
            deltas.wait_for("reject_tag")
            assert not select.select([], [s], [], 0)[1], "not connected"
        assert "redirected" not in deltas.now()
    finally:
        agent.remove()
