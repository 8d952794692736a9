# SPDX-License-Identifier: Apache-2.0
"""The framework itself, without Crab: what the other tests take for granted."""

import hashlib
import os
import re
import signal
import subprocess
import sys

import pytest
import sandbox
from capture import SYN, Capture
from load import HeldConnections, run_short
from process import CommandFailed, wait_until
from topology import Topology, in_url
from web import PORT, WebServer, make_file


@pytest.fixture(scope="module")
def servers(topology: Topology) -> list[WebServer]:
    return [WebServer(host) for host in topology.backends]


def test_curl_reaches_each_backend_and_is_counted(topology, servers, family):
    for server in servers:
        before = server.n_accepted()
        done = topology.clients[0].run(["curl", "-sS", server.url(family)])
        assert done.stdout == f"{server.id}\n"
        assert server.n_accepted() == before + 1


def test_wrk_runs(topology, servers, family):
    done = topology.clients[1].run(["wrk", "-t1", "-c4", "-d1s", servers[0].url(family)])
    assert int(re.search(r"(\d+) requests in", done.stdout)[1]) > 0
    assert "Socket errors" not in done.stdout


def test_a_big_file_arrives_whole(topology, servers, family):
    digest = make_file(topology.sandbox, "big", 8 << 20)
    path = topology.sandbox.directory / "received"
    topology.clients[0].run(["curl", "-sS", "-o", path, servers[0].url(family, "/big")])
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest


def test_capture_sees_each_connection(topology, servers, family):
    with Capture(topology.backends[0], "eth0", "tcp dst port 8080") as capture:
        for _ in range(3):
            topology.clients[0].run(["curl", "-sS", servers[0].url(family)])
    connections = capture.per_connection()
    assert len(connections) == 3
    for (source, _), segments in connections.items():
        assert source == topology.clients[0].address(family)
        assert segments[0].flags == SYN
        assert sum(segment.is_syn for segment in segments) == 1
        assert len(segments) > 2


def test_a_failed_command_shows_what_it_printed(topology):
    with pytest.raises(CommandFailed, match="exit 2: ls /nonexistent\n.*No such file"):
        topology.clients[0].run(["ls", "/nonexistent"])


def test_a_daemon_that_ends_early_fails_its_start(topology):
    daemon = topology.clients[0].start("false", ["sh", "-c", "echo why; exit 3"])
    with pytest.raises(RuntimeError, match="ended with 3:\nwhy"):
        daemon.wait_ready(lambda: False)


_CHILD = """
import sys
from topology import create_topology
with create_topology(n_clients=1, n_backends=1) as topology:
    topology.clients[0].start("sleep", ["sleep", "600"])
    print(topology.sandbox.name, flush=True)
    sys.stdin.read()
"""


def start_other_run() -> tuple[subprocess.Popen, str]:
    child = subprocess.Popen([sys.executable, "-c", _CHILD], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True, cwd=os.path.dirname(__file__))
    return child, child.stdout.readline().strip()


def remains(name: str) -> list[str]:
    found = [str(path) for path in sandbox.NETNS.glob(f"{name}-*")]
    places = (sandbox.ROOT / name, sandbox.cgroup2_root() / name)
    return found + [str(place) for place in places if place.exists()]


def test_sigterm_removes_everything():
    child, name = start_other_run()
    assert len(remains(name)) == 6  # four namespaces, directory, cgroup
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 128 + signal.SIGTERM
    assert remains(name) == []


def test_the_next_run_sweeps_what_a_killed_one_left():
    child, name = start_other_run()
    sandbox.sweep()
    assert len(remains(name)) == 6, "a run that is alive is left alone"
    child.kill()
    child.wait(60)
    sandbox.sweep()
    assert remains(name) == []


def test_load_counts_every_connection(topology, servers, family):
    address = topology.backends[0].address(family)
    before = servers[0].n_accepted()
    done = run_short(topology.clients[0], address, PORT, 500)
    assert (done.by_backend, done.failures) == ({"b1": 500}, {})
    done = run_short(topology.clients[0], address, PORT, 50, source_port=20040)
    assert (done.by_backend, done.failures) == ({"b1": 50}, {})
    assert servers[0].n_accepted() == before + 550
    refused = run_short(topology.clients[0], address, PORT + 1, 5)
    assert refused.failures == {"ECONNREFUSED": 5}


def test_held_connections_notice_what_breaks_one(topology, servers, family):
    address = topology.backends[0].address(family)
    with HeldConnections(topology.clients[0], address, PORT, 100) as held:
        assert held.wait_for_requests(1000).failures == {}
        topology.backends[0].run(["ss", "-K", "dst", in_url(topology.clients[0].address(family))])
        wait_until(lambda: sum(held.tally().failures.values()) == 100, "100 broken connections")
