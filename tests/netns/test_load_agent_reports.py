# SPDX-License-Identifier: Apache-2.0
"""From a backend's sockets to the node's load table: crab-agent attached to a crab-lb."""

import contextlib
import json
import socket
import time

import pytest
from crab import VIRTUAL_PORT, CrabLb, configuration, service
from endpoint import Agent, tcp_socket
from load import HeldConnections, run_short
from process import wait_until
from test_load_agent import abort, shown_by_ss
from topology import APPLIANCE_NUMBER, FAMILIES, Host, address, in_url, virtual_address
from web import PORT as WEB_PORT, WebServer

RARELY_MS = 60_000


class Node:
    """A crab-lb that takes reports, b1 and b2 behind it with agents that know nothing else."""

    def __init__(self, topology, family: str, **load_reports: object):
        self.topology, self.family = topology, family
        self.backends = topology.backends[:2]
        listen = [f"{in_url(address(family, APPLIANCE_NUMBER))}:7471"]
        content = configuration(topology, [service(one, self.backends) for one in FAMILIES])
        self.lb = CrabLb(topology, content | {"load_reports": {"listen": listen} | load_reports})
        self.lb.start()
        self.agents = [self.agent(host, "server") for host in self.backends]
        for agent in self.agents:
            self.wait_attached(agent)

    def agent(self, host: Host, role: str) -> Agent:
        return Agent(host, role, None, "--appliance", self.lb.socket, "--name", host.host)

    def session(self, agent: Agent) -> dict:
        (session,) = agent.status()["nodes"]
        return session

    def wait_attached(self, agent: Agent, n_times: int = 1) -> None:
        wait_until(lambda: (s := self.session(agent))["state"] == "attached"
                   and s["attached"] >= n_times and s["reports"] > 0, "the agent to report")

    def load(self, host: Host) -> dict:
        return self.lb.backends(self.family)[host.host]["status"].get("load", {})

    def open(self, host: Host) -> int:
        return int(self.load(host).get("open", 0))

    def source(self, host: Host) -> str:
        return self.load(host).get("source", "")

    def wait_for_source(self, host: Host, source: str) -> None:
        wait_until(lambda: self.source(host) == f"LOAD_SOURCE_{source}",
                   f"{host.host} to be {source}")

    def is_true(self) -> bool:
        """What the node believes is what there is."""
        return all(
            self.open(host) == shown_by_ss(host, self.family, WEB_PORT)
            and int(self.load(host).get("unconfirmed", 0)) == 0 for host in self.backends)

    def wait_true(self) -> None:
        wait_until(self.is_true, "the node's load table to be what ss shows")

    def end(self) -> None:
        for agent in self.agents:
            agent.remove()
        self.lb.daemon.stop(check=False)


@pytest.fixture(scope="module", autouse=True)
def web(topology):
    for host in topology.backends[:2]:
        WebServer(host)


@pytest.fixture
def node(topology, family):
    made = Node(topology, family)
    yield made
    made.end()


@contextlib.contextmanager
def rarely(topology, family: str, **load_reports: object):
    """A node whose heartbeats do not matter."""
    made = Node(topology, family, heartbeat_ms=RARELY_MS, **load_reports)
    try:
        yield made
    finally:
        made.end()


def connected(client: Host, host: Host, family: str, n: int) -> list[socket.socket]:
    """n connections to a backend itself."""
    sockets = [tcp_socket(client, family) for _ in range(n)]
    for s in sockets:
        s.connect((host.address(family), WEB_PORT))
    return sockets


def test_the_node_knows_what_ss_shows(topology, node, family):
    client, target = topology.clients[0], virtual_address(family)
    agent = node.agent(client, "client")
    try:
        wait_until(lambda: len(agent.status()["services"]) == 2, "the services")
        with HeldConnections(client, target, VIRTUAL_PORT, 60) as held:
            node.wait_true()
            assert sum(node.open(host) for host in node.backends) == 60
            assert run_short(client, target, VIRTUAL_PORT, 200).failures == {}
            node.wait_true()
            node.agents[0].daemon.kill()
            node.agents[0].restart()
            node.wait_true()
            assert held.finish().failures == {}
        node.wait_true()
        by_node = [b["accepted_by_node"] for a in node.agents for b in a.status()["backends"]]
        assert sum(n for nodes in by_node for n in nodes.values()) == 260
    finally:
        agent.remove()


def test_a_close_is_reported_at_once(topology, family):
    host = topology.backends[0]
    with rarely(topology, family) as node:
        sockets = connected(topology.clients[0], host, family, 3)
        wait_until(lambda: shown_by_ss(host, family, WEB_PORT) == 3, "the connections")
        assert node.open(host) == 0, "an accept waits for the next report"
        abort(sockets.pop())
        wait_until(lambda: node.open(host) == 2, "the close to be reported")
        assert node.session(node.agents[0])["event_reports"] >= 1
        assert node.session(node.agents[1])["event_reports"] == 0
        for s in sockets:
            s.close()
        node.wait_true()


def test_an_accept_is_reported_at_once_where_nodes_share(topology, family):
    host = topology.backends[0]
    with rarely(topology, family, several_nodes=True) as node:
        (s,) = connected(topology.clients[0], host, family, 1)
        wait_until(lambda: node.open(host) == 1, "the accept to be reported")
        s.close()


def test_a_burst_of_closes_is_one_datagram(topology, family):
    host, interval_s = topology.backends[0], 1
    with rarely(topology, family, coalescing_us=interval_s * 1_000_000) as node:
        begin = time.monotonic()
        for s in connected(topology.clients[0], host, family, 50):
            abort(s)
        wait_until(lambda: int(node.load(host).get("closed_total", 0)) >= 50, "the closes")
        n = node.session(node.agents[0])["event_reports"]
        assert n <= 2 + (time.monotonic() - begin) / interval_s, "one for each interval at most"


def test_lost_reports_cost_nothing(topology, node, family):
    client, target = topology.clients[0], virtual_address(family)
    agent = node.agent(client, "client")
    topology.fabric.run(["nft", "add table bridge loss; add chain bridge loss forward "
                         "{ type filter hook forward priority 0; }; add rule bridge loss forward "
                         "udp dport 7471 numgen random mod 2 0 counter drop"])
    try:
        wait_until(lambda: len(agent.status()["services"]) == 2, "the services")
        with HeldConnections(client, target, VIRTUAL_PORT, 30) as held:
            assert run_short(client, target, VIRTUAL_PORT, 200).failures == {}
            node.wait_true()
            assert held.finish().failures == {}
        node.wait_true()
        rules = topology.fabric.run(["nft", "list", "table", "bridge", "loss"]).stdout
        assert "packets 0" not in rules, "reports were lost"
    finally:
        topology.fabric.run(["nft", "delete", "table", "bridge", "loss"])
        agent.remove()


def test_goodbye_silence_and_return(topology, node):
    host, agent = node.backends[0], node.agents[0]
    node.wait_for_source(host, "EVENT")
    agent.daemon.stop()
    node.wait_for_source(host, "ASSIGNED")
    agent.restart()
    node.wait_for_source(host, "EVENT")
    agent.daemon.kill()
    node.wait_for_source(host, "SILENT")
    agent.restart()
    node.wait_for_source(host, "EVENT")
    assert node.source(node.backends[1]) == "LOAD_SOURCE_EVENT", "the other one never stopped"


def test_a_node_that_restarts_is_found_again(topology, node, family):
    with contextlib.closing(connected(topology.clients[0], node.backends[0], family, 1)[0]):
        node.wait_true()
        node.lb.daemon.kill()
        wait_until(lambda: node.session(node.agents[0])["state"] == "ended", "the session's end")
        node.lb.start()
        for agent in node.agents:
            node.wait_attached(agent, n_times=2)
        node.wait_true()
        assert node.open(node.backends[0]) == 1
    refused = json.loads(node.lb.ctl("stats", "-o", "json").stdout)["load_reports"]["refusals"]
    assert {r["reason"] for r in refused if int(r.get("count", 0))} <= {"unknown_session"}


def test_other_addresses_are_claimed(topology, node, family):
    agent = node.agents[0]
    agent.host.run(["ip", "address", "add", "10.0.0.77/32", "dev", "eth0"])
    try:
        node.wait_attached(agent, n_times=2)
    finally:
        agent.host.run(["ip", "address", "delete", "10.0.0.77/32", "dev", "eth0"])
    node.wait_attached(agent, n_times=3)
