# SPDX-License-Identifier: Apache-2.0
"""Two appliances that balance to the same backends, without knowing of each other: each learns from the
backends' reports what the other one did."""

import contextlib
import select
import socket

import pytest
from crab import VIRTUAL_PORT, CrabLb, configuration, service, service_name
from endpoint import Agent, listener, shown_by_ss, tcp_socket
from process import wait_until
from topology import APPLIANCE_NUMBER, FAMILIES, VIRTUAL_NUMBER, Host, address, in_url
from web import PORT

# Each node's appliance and virtual address.
NODES = {1: (APPLIANCE_NUMBER, VIRTUAL_NUMBER), 2: (APPLIANCE_NUMBER + 1, VIRTUAL_NUMBER + 1)}


class Node:
    """One appliance, with a service of its own over all backends."""

    def __init__(self, topology, host: Host, number: int, family: str):
        appliance_number, virtual_number = NODES[number]
        self.number = number
        self.family = family
        self.virtual = address(family, virtual_number)
        content = configuration(topology, [
            service(family, topology.backends)
            | {"address": self.virtual, "policy": {"name": "join_shortest_queue"}}],
            appliance=host)
        content["node"] = number
        content["load_reports"] = {
            "listen": [f"{in_url(address(family, appliance_number))}:7471"],
            "several_nodes": True}
        self.lb = CrabLb(topology, content, host).start()

    def loads(self) -> dict[str, dict]:
        return {name: backend["status"]["load"]
                for name, backend in self.lb.backends(self.family).items()}

    def service_stats(self) -> dict:
        return next(s for s in self.lb.stats()["services"]
                    if s["service"] == service_name(self.family))


class Deployment:
    """Both nodes; agents that are attached to both of them; listeners."""

    def __init__(self, topology, other: Host, family: str):
        self.topology, self.family = topology, family
        self.nodes = {1: Node(topology, topology.appliance, 1, family),
                      2: Node(topology, other, 2, family)}
        self.agents = [self._agent(host, "server") for host in topology.backends]
        self.agents.append(self._agent(topology.clients[0], "client"))
        self.listeners = {host.host: listener(host, family, PORT) for host in topology.backends}
        self.connections: list[tuple[str, socket.socket, socket.socket]] = []
        wait_until(lambda: all(n.lb.stats()["load_reports"]["agents"] == 4
                               for n in self.nodes.values()), "every agent at every node")
        wait_until(lambda: len(self.agents[-1].status()["services"]) == 2, "both to be offered to")
        self.wait_for_truth()

    def _agent(self, host: Host, role: str) -> Agent:
        appliances = [word for n in self.nodes.values() for word in ("--appliance", n.lb.socket)]
        return Agent(host, role, None, *appliances, "--name", host.host)

    def open(self, node: int, n: int) -> None:
        for _ in range(n):
            client = tcp_socket(self.topology.clients[0], self.family)
            client.connect((self.nodes[node].virtual, VIRTUAL_PORT))
            ready, _, _ = select.select(list(self.listeners.values()), [], [], 30)
            name = next(host for host, s in self.listeners.items() if s is ready[0])
            self.connections.append((name, client, ready[0].accept()[0]))

    def end(self) -> None:
        for _, client, server in self.connections:
            server.close()
            client.close()
        self.connections.clear()

    def counted_by_ss(self) -> dict[str, int]:
        return {host.host: shown_by_ss(host, self.family, PORT) for host in self.topology.backends}

    def is_true(self, node: Node) -> bool:
        loads = node.loads()
        return all(load["source"] == "LOAD_SOURCE_EVENT" and load["unconfirmed"] == 0
                   for load in loads.values()) and (
            {name: load["open"] for name, load in loads.items()} == self.counted_by_ss())

    def wait_for_truth(self, *numbers: int) -> None:
        for number in numbers or self.nodes:
            wait_until(lambda n=self.nodes[number]: self.is_true(n),
                       f"node {number} to know what ss shows")

    def close(self) -> None:
        self.end()
        for s in self.listeners.values():
            s.close()
        for agent in self.agents:
            agent.remove()
        for node in self.nodes.values():
            node.lb.daemon.stop(check=False)


@pytest.fixture(scope="module")
def other_appliance(topology) -> Host:
    return topology.add_appliance("lb2", NODES[2][0])


@pytest.fixture(scope="module", params=FAMILIES)
def crab(topology, other_appliance, request):
    with contextlib.closing(Deployment(topology, other_appliance, request.param)) as made:
        yield made


def own(node: Node) -> int:
    return sum(int(load["accepted_own"]) for load in node.loads().values())


def test_each_knows_what_the_other_assigned(crab):
    before = {n: own(node) for n, node in crab.nodes.items()}
    crab.open(1, 9)
    crab.wait_for_truth()
    crab.open(2, 6)
    crab.wait_for_truth()
    assert {n: own(node) - before[n] for n, node in crab.nodes.items()} == {1: 9, 2: 6}
    by_node = {"1": 0, "2": 0}
    for agent in crab.agents[:3]:
        for backend in agent.status()["backends"]:
            for number, n in backend["accepted_by_node"].items():
                by_node[number] += n
    assert by_node["1"] >= 9 and by_node["2"] >= 6
    # Each of them joined the shortest of queues that the other one fills, too.
    assert set(crab.counted_by_ss().values()) == {5}
    crab.end()
    crab.wait_for_truth()


def test_one_fills_what_the_other_left_short(crab):
    crab.open(1, 12)
    crab.wait_for_truth()
    for pair in [p for p in crab.connections if p[0] == "b1"]:
        crab.connections.remove(pair)
        pair[2].close()
        pair[1].close()
    crab.wait_for_truth()
    assert crab.counted_by_ss() == {"b1": 0, "b2": 4, "b3": 4}
    crab.open(2, 4)
    assert crab.counted_by_ss() == {"b1": 4, "b2": 4, "b3": 4}
    crab.end()
    crab.wait_for_truth()


def test_one_dies_and_the_other_goes_on(crab):
    crab.open(1, 6)
    crab.open(2, 6)
    crab.nodes[1].lb.daemon.kill()
    for _, client, server in crab.connections:  # of the dead node's, too
        client.sendall(b"x")
        assert server.recv(1) == b"x"
    crab.open(2, 3)
    crab.wait_for_truth(2)
    crab.nodes[1].lb.start()
    crab.wait_for_truth()
    crab.open(1, 3)
    crab.wait_for_truth()
    assert int(crab.nodes[2].service_stats()["unconfirmed_connections"]) == 0
    crab.end()
    crab.wait_for_truth()
