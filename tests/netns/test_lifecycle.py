# SPDX-License-Identifier: Apache-2.0
"""What happens to connections when backends come and go, packets are lost, and crab-lb ends."""

import concurrent.futures
import contextlib

import pytest
from capture import Capture
from crab import VIRTUAL_PORT, Deployment, configuration, service, service_name
from load import HeldConnections, run_short
from process import wait_until
from topology import FAMILIES, in_url, virtual_address
from web import PORT


@pytest.fixture(scope="module")
def crab(topology) -> Deployment:
    """b1 and b2 are the configuration file's; b3 comes and goes by the API."""
    services = [service(family, topology.backends[:2]) for family in FAMILIES]
    return Deployment(topology, configuration(topology, services))


def short(topology, family: str, n: int, **options):
    return run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, n, **options)


@contextlib.contextmanager
def held_connections(topology, family: str, n: int = 150):
    """Established connections with requests under way; none of them may fail."""
    with HeldConnections(topology.clients[1], virtual_address(family), VIRTUAL_PORT, n) as held:
        yield held
        held.wait_for_requests(2 * n)
        assert held.finish().failures == {}


def register_b3(crab, topology, family: str) -> None:
    address = topology.backends[2].address(family)
    crab.lb.ctl("backend", "register", service_name(family), f"b3={in_url(address)}:{PORT}")
    wait_until(lambda: is_healthy(crab, family, "b3"), "b3 to be eligible")


def deregister_b3(crab, family: str) -> None:
    crab.lb.ctl("backend", "deregister", service_name(family), "b3")


def is_healthy(crab, family: str, backend: str) -> bool:
    return crab.lb.backends(family)[backend]["status"]["state"].endswith("_HEALTHY")


def test_a_backend_leaves_and_returns_under_load(topology, crab, family):
    register_b3(crab, topology, family)
    with held_connections(topology, family), concurrent.futures.ThreadPoolExecutor() as pool:
        load = pool.submit(short, topology, family, 6000)
        while not load.done():
            deregister_b3(crab, family)
            register_b3(crab, topology, family)
        done = load.result()
        assert done.failures == {} and set(done.by_backend) == {"b1", "b2", "b3"}
        deregister_b3(crab, family)
        without = short(topology, family, 30)
        assert (without.by_backend, without.failures) == ({"b1": 15, "b2": 15}, {})
        register_b3(crab, topology, family)
        again = short(topology, family, 30)
        assert (again.by_backend, again.failures) == ({"b1": 10, "b2": 10, "b3": 10}, {})


def test_kill_9_breaks_no_established_connection(topology, crab, family):
    with held_connections(topology, family) as held:
        crab.lb.daemon.kill()
        assert held.wait_for_requests(3000).failures == {}
        crab.lb.start()
        assert held.wait_for_requests(3000).failures == {}
        assert short(topology, family, 30).failures == {}


def test_sigterm_ends_cleanly(topology, crab, family):
    with held_connections(topology, family):
        assert crab.lb.daemon.stop() == 0
        links = topology.appliance.run(["ip", "-o", "link"]).stdout
        assert "crab0" not in links and "lb0" in links
        assert topology.appliance.run(["nft", "list", "ruleset"]).stdout == ""
        crab.lb.start()
        assert short(topology, family, 30).failures == {}


# Drops a source port's first SYN only: the quota lasts for one of 72 (IPv4) or 96 (IPv6) bytes.
_DROP_FIRST = """
table inet lose_one {{
  chain input {{
    type filter hook input priority 0;
    tcp sport {port} tcp flags & (syn | ack) == syn quota until 130 bytes counter drop
  }}
}}
"""


def test_a_retransmitted_syn_goes_where_the_first_went(topology, crab, family):
    source_port = 20046
    for host in topology.backends:
        host.run(["nft", "-f", "-"], input=_DROP_FIRST.format(port=source_port))
    try:
        before, n_recalled = crab.lb.verdicts()["redirected"], crab.lb.n_recalled()
        assigned = n_assigned(crab, family)
        with contextlib.ExitStack() as stack:
            captures = {host.host: stack.enter_context(
                Capture(host, "eth0", f"tcp src port {source_port}")) for host in topology.backends}
            done = short(topology, family, 1, source_port=source_port)
        assert done.failures == {} and sum(done.by_backend.values()) == 1
        syns = {name: [s for s in capture.segments if s.is_syn]
                for name, capture in captures.items()}
        reached = {name: len(found) for name, found in syns.items() if found}
        assert reached == {name: 2 for name in done.by_backend}
        assert len({s.sequence for found in syns.values() for s in found}) == 1
        assert crab.lb.verdicts()["redirected"] == before + 2
        assert crab.lb.n_recalled() == n_recalled + 1
        assert n_assigned(crab, family) == assigned + 1, "counted once"
    finally:
        for host in topology.backends:
            host.run(["nft", "delete", "table", "inet", "lose_one"])


def n_assigned(crab, family: str) -> int:
    services = {s["service"]: s for s in crab.lb.stats()["services"]}
    return int(services[service_name(family)].get("assigned_connections", 0))
