# SPDX-License-Identifier: Apache-2.0
"""Connections need the appliance's neighbour entry, and outlive it."""

import socket
import threading

import pytest
from crab import VIRTUAL_PORT, CrabLb, configuration, service
from endpoint import Agent, listener, tcp_socket
from process import wait_until
from topology import FAMILIES, virtual_address

BACKEND_PORT = 8084
# How fast the kernel gives a silent neighbour up; some forty seconds by default.
IMPATIENT = {"base_reachable_time_ms": 1000, "delay_first_probe_time": 1, "retrans_time_ms": 100,
             "ucast_solicit": 1}


@pytest.fixture
def crab(topology):
    host = topology.clients[0]
    for family in FAMILIES:
        for name, value in IMPATIENT.items():
            host.run(["sysctl", "-qw", f"net.{family}.neigh.eth0.{name}={value}"])
    services = [service(family, topology.backends[:1], backend_port=BACKEND_PORT)
                for family in FAMILIES]
    lb = CrabLb(topology, configuration(topology, services)).start()
    agents = Agent(host, "client", lb.path), Agent(topology.backends[0], "server", lb.path)
    yield lb, agents[0]
    lb.daemon.stop(check=False)
    for agent in agents:
        agent.remove()


def test_a_download_outlives_the_appliance(topology, crab, family):
    lb, agent = crab
    virtual = virtual_address(family)
    with listener(topology.backends[0], family, BACKEND_PORT) as listening, \
            tcp_socket(topology.clients[0], family) as client:
        client.connect((virtual, VIRTUAL_PORT))
        server, _ = listening.accept()
        server.settimeout(30)
        lb.daemon.kill()
        enough = threading.Event()

        def trickle():
            """The client only acknowledges, which keeps no neighbour entry valid."""
            while not enough.wait(0.05):
                server.sendall(b"x")
            server.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=trickle)
        sender.start()
        n_given_up = 0
        try:
            while n_given_up < 3:
                assert client.recv(4096)
                n_given_up = agent.daemon.output().count(f"{virtual} no longer answers; kept")
        finally:
            enough.set()
            sender.join()
        client.sendall(b"ping")
        assert server.recv(4) == b"ping"
        lb.start()
        with tcp_socket(topology.clients[0], family) as again:
            wait_until(lambda: again.connect_ex((virtual, VIRTUAL_PORT)) == 0,
                       "a connection through the appliance that came back")
