# SPDX-License-Identifier: Apache-2.0
"""Connections through the appliance: all of them, to the backends in turn, and only SYNs there."""

import hashlib
import os
import re

import pytest
from capture import Capture
from crab import VIRTUAL_PORT, Deployment, configuration, service
from load import HeldConnections, run_short
from topology import FAMILIES, in_url, virtual_address
from web import PORT, make_file


KEYED_PORT = 81
N_WORKERS = 2  # if there are as many CPUs


@pytest.fixture(scope="module")
def crab(topology) -> Deployment:
    services = []
    for family in FAMILIES:
        services += [
            service(family, topology.backends),
            service(family, topology.backends, name=f"same-port-{family}", port=PORT),
            service(family, topology.backends, name=f"keyed-{family}", port=KEYED_PORT)
            | {"keys": ["00112233445566778899aabbccddeeff"]},
        ]
    return Deployment(topology, configuration(topology, services, N_WORKERS))


def url(family: str, path: str = "/", port: int = VIRTUAL_PORT) -> str:
    return f"http://{in_url(virtual_address(family))}:{port}{path}"


@pytest.mark.parametrize("port", [VIRTUAL_PORT, PORT, KEYED_PORT],
                         ids=["port_changes", "port_stays", "keyed"])
def test_curl_gets_each_backend_in_turn(topology, crab, family, port):
    answers = [topology.clients[0].run(["curl", "-sS", url(family, port=port)]).stdout.strip()
               for _ in range(6)]
    assert sorted(answers) == ["b1", "b1", "b2", "b2", "b3", "b3"]


def test_wrk_has_no_error(topology, crab, family):
    with Capture(topology.appliance, "lb0") as capture:
        done = topology.clients[1].run(["wrk", "-t1", "-c16", "-d2s", url(family)])
    assert int(re.search(r"(\d+) requests in", done.stdout)[1]) > 100
    assert "Socket errors" not in done.stdout and "Non-2xx" not in done.stdout
    assert all(segment.is_syn for segment in capture.segments)


def test_ten_thousand_connections_are_split_in_thirds(topology, crab, family):
    n = 10_000
    before = {server.id: server.n_accepted() for server in crab.servers}
    with Capture(topology.appliance, "lb0") as capture:
        done = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, n)
    assert done.failures == {}
    accepted = {server.id: server.n_accepted() - before[server.id] for server in crab.servers}
    assert accepted == done.by_backend, "nginx counts what the client counts"
    assert sum(accepted.values()) == n
    assert all(abs(share - n / 3) < 1 for share in accepted.values()), accepted
    assert all(segment.is_syn for segment in capture.segments)
    # A port may be used again within the run, so a connection is its SYN's 4-tuple and ISN.
    opened = {(s.source, s.source_port, s.sequence) for s in capture.segments}
    assert len(opened) == n
    workers = crab.lb.stats()["workers"]
    assert len(workers) == min(N_WORKERS, len(os.sched_getaffinity(0)))
    assert all(int(worker["redirected_packets"]) > 0 for worker in workers), "all share the turns"


def test_a_thousand_concurrent_connections(topology, crab, family):
    with HeldConnections(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 1000) as held:
        assert sorted(held.tally().by_backend.values()) == [333, 333, 334]
        assert held.wait_for_requests(5000).failures == {}
        assert held.finish().failures == {}


def test_a_hundred_megabytes_pass_the_appliance_by(topology, crab, family):
    digest = make_file(topology.sandbox, "big", 100_000_000)
    path = topology.sandbox.directory / "received"
    # At the bridge's end of the link: what DPDK sends does not pass tcpdump on the appliance.
    with Capture(topology.fabric, "lb", direction="inout") as capture:
        topology.clients[0].run(["curl", "-sS", "-o", path, url(family, "/big")])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    came, went = capture.segments
    assert came.is_syn and went.is_syn and came.sequence == went.sequence
    assert came.destination == virtual_address(family)
    assert went.destination in {host.address(family) for host in topology.backends}


def test_a_fixed_source_port_reconnects_at_once(topology, crab, family):
    done = run_short(topology.clients[1], virtual_address(family), VIRTUAL_PORT, 300,
                     source_port=20045)
    assert (done.by_backend, done.failures) == ({"b1": 100, "b2": 100, "b3": 100}, {})
