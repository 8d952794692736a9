# SPDX-License-Identifier: Apache-2.0
"""crab-agent itself: killed, restarted, reconfigured, full, drained, misused."""

import contextlib
import errno
import socket

import pytest
import yaml
from crab import VIRTUAL_PORT, CrabLb, configuration, program, service
from endpoint import Agent, Deltas, frame_socket, listener, mac_of, tcp_socket
from load import HeldConnections, run_short
from process import wait_until
from topology import FAMILIES, address, virtual_address
from web import WebServer

OWN, OWN_PORT = 84, 8084
NOWHERE = 199


@pytest.fixture(scope="module")
def lb(topology):
    backend = topology.backends[0]
    services = [service(family, [backend], name=f"s{port}-{family}", port=port,
                        backend_port=backend_port)
                for family in FAMILIES for port, backend_port in ((VIRTUAL_PORT, 8080),
                                                                  (OWN, OWN_PORT))]
    made = CrabLb(topology, configuration(topology, services))
    WebServer(backend)
    made.start()
    server = Agent(backend, "server", made.path)
    yield made
    server.remove()


@pytest.fixture
def agent(topology, lb):
    made = Agent(topology.clients[0], "client", lb.path)
    yield made
    made.remove()


def test_killed_and_restarted_under_load(topology, lb, agent, family):
    client, target = topology.clients[0], virtual_address(family)
    with HeldConnections(client, target, VIRTUAL_PORT, 200) as held:
        agent.daemon.kill()
        assert held.wait_for_requests(1000).failures == {}
        assert run_short(client, target, VIRTUAL_PORT, 200).failures == {}, "without an agent"
        agent.restart()
        assert held.wait_for_requests(1000).failures == {}
        assert run_short(client, target, VIRTUAL_PORT, 200).failures == {}
        assert agent.counters()["redirected"] == 600, "the counters were taken over"
        assert held.finish().failures == {}


def test_changes_of_role_and_cgroup_are_followed(topology, lb, agent):
    host = topology.clients[0]
    agent.daemon.stop()
    agent.role = "server"
    agent.restart()
    assert not agent.status()["offers"]
    agent.daemon.stop()
    agent.role = "both"
    agent.restart()
    assert agent.status()["offers"]
    assert run_short(host, virtual_address("ipv4"), VIRTUAL_PORT, 10).failures == {}


def test_reload(topology, lb, agent, family):
    content = yaml.safe_load(lb.path.read_text())
    agent.path = topology.sandbox.directory / "own.yaml"
    agent.configure({"services": []})
    agent.daemon.stop()
    agent.restart()
    assert agent.status()["services"] == []
    agent.configure(content | {"agent": {"allowed_prefixes": ["10.0.0.0/8", "fd00::/8"]}})
    agent.daemon.send(1)
    wait_until(lambda: len(agent.status()["services"]) == 4, "the services")
    assert sorted(agent.status()["allowed_prefixes"]) == ["10.0.0.0/8", "fd00::/8"]
    agent.path.write_text("services:\n  - name: web\n    address: nonsense\n    port: 80\n")
    agent.daemon.send(1)
    wait_until(lambda: "own.yaml:3: services[0].address" in agent.daemon.output(), "the complaint")
    assert len(agent.status()["services"]) == 4, "the configuration before stays"
    assert run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT,
                     10).failures == {}


def test_drain_then_unload(topology, lb, agent, family):
    host = topology.clients[0]
    with listener(topology.backends[0], family, OWN_PORT) as listening, \
            tcp_socket(host, family) as client:
        client.connect((virtual_address(family), OWN))
        server, _ = listening.accept()
        agent.daemon.stop()
        removal = host.start("remove", [program("crab-agent"), "remove", "--pin-dir",
                                        host.pin_directory, "--timeout", "60"])
        wait_until(lambda: agent.status()["services"] == [], "the end of offers")
        server.settimeout(30)
        for one, other in (client, server), (server, client):
            one.sendall(b"ping")
            assert other.recv(4) == b"ping", "the connection lives while the endpoint drains"
        server.close()
        assert client.recv(1) == b""
    assert removal.wait() == 0, removal.output()
    for direction in "ingress", "egress":
        assert host.run(["tc", "filter", "show", "dev", "eth0", direction]).stdout == ""
    assert list(host.pin_directory.rglob("*")) == []
    done = agent.command("status", check=False)
    assert done.returncode == 1 and "no endpoint is installed" in done.stderr


def test_a_drain_that_lasts_too_long_says_so(topology, lb, agent):
    with listener(topology.backends[0], "ipv4", OWN_PORT), \
            tcp_socket(topology.clients[0], "ipv4") as client:
        client.connect((virtual_address("ipv4"), OWN))
        agent.daemon.stop()
        done = agent.command("remove", "--timeout", "0", check=False)
        assert done.returncode == 1 and "1 connections are left" in done.stderr
        assert agent.command("remove", "--force").returncode == 0


def test_a_full_flow_table_refuses_the_next(topology, lb, agent, family):
    agent.remove()
    agent.options = ("--max-flows", 4)
    agent.restart()
    deltas = Deltas(agent)
    with listener(topology.backends[0], family, OWN_PORT), contextlib.ExitStack() as held:
        for _ in range(4):
            s = held.enter_context(tcp_socket(topology.clients[0], family))
            s.connect((virtual_address(family), OWN))
        s = held.enter_context(tcp_socket(topology.clients[0], family))
        s.setblocking(False)
        assert s.connect_ex((virtual_address(family), OWN)) == errno.EINPROGRESS
        deltas.wait_for("reject_map_full")
        assert s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 2, "SYN-SENT"
        assert agent.status()["flows"]["open"] == 4


def test_a_full_pending_table_sends_plain_syns(topology, lb, agent, family):
    host = topology.clients[0]
    content = {"services": [{"name": "nowhere", "address": address(family, NOWHERE), "port": 80}]}
    agent.remove()
    agent.path = topology.sandbox.directory / "nowhere.yaml"
    agent.configure(content)
    agent.options = ("--max-pending", 2)
    agent.restart()
    host.run(["ip", "neigh", "replace", address(family, NOWHERE), "lladdr",
              mac_of(topology.backends[1]), "dev", "eth0"])
    deltas = Deltas(agent)
    with contextlib.ExitStack() as held:
        held.enter_context(frame_socket(topology.backends[1]))
        for _ in range(3):
            s = held.enter_context(tcp_socket(host, family))
            s.setblocking(False)
            assert s.connect_ex((address(family, NOWHERE), 80)) == errno.EINPROGRESS
        assert agent.status()["pending"] == 2
        assert deltas.now()["offer_map_full"] >= 1
    wait_until(lambda: agent.status()["pending"] == 0, "closed sockets to leave the table")


def run_options(topology, lb, **changes: object) -> list[object]:
    host = topology.clients[1]
    options = {"config": lb.path, "role": "client", "interface": "eth0", "cgroup": host.cgroup,
               "pin-dir": host.pin_directory} | {k.replace("_", "-"): v for k, v in changes.items()}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


@pytest.mark.parametrize("changes, line", [
    ({"interface": "eth9"}, "--interface eth9: no such interface in this network namespace"),
    ({"interface": "lo"}, "--interface lo: not an Ethernet interface"),
    ({"cgroup": "/nowhere"}, "--cgroup /nowhere: No such file or directory"),
    ({"cgroup": "/tmp"}, "--cgroup /tmp: not on a cgroup v2 hierarchy"),
    ({"pin_dir": "/tmp/crab"}, "/tmp/crab is not on a bpffs"),
    ({"config": "/nowhere.yaml"}, "/nowhere.yaml"),
    ({"role": "clients"}, "--role"),
    ({"max_flows": "0"}, "--max-flows"),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")
def test_misuse_ends_with_one_line(topology, lb, changes, line):
    host = topology.clients[1]
    done = host.run([program("crab-agent"), "run", *run_options(topology, lb, **changes)],
                    check=False)
    assert done.returncode != 0
    assert line in done.stderr
    assert len([text for text in done.stderr.splitlines() if "--help" not in text]) == 1
    assert host.run(["tc", "filter", "show", "dev", "eth0", "ingress"]).stdout == ""


def test_without_privileges(topology, lb):
    host = topology.clients[1]
    done = host.run(["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all",
                     "--bounding-set=-all", program("crab-agent"), "run",
                     *run_options(topology, lb)], check=False)
    assert done.returncode != 0 and "needs root" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_second_agent_is_refused(topology, lb, agent):
    host = topology.clients[0]
    done = host.run([program("crab-agent"), "run", *run_options(
        topology, lb, pin_dir=host.pin_directory, cgroup=host.cgroup)], check=False)
    assert done.returncode == 1 and "another crab-agent" in done.stderr


def doctor(topology, lb, agent):
    host = topology.clients[0]
    return agent.command("doctor", "--config", lb.path, "--role", "client", "--interface", "eth0",
                         "--cgroup", host.cgroup, check=False)


def test_doctor_finds_nothing_wrong(topology, lb, agent):
    done = doctor(topology, lb, agent)
    assert done.returncode == 0, done.stdout
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())


def test_doctor_finds_a_strict_reverse_path_filter(topology, lb, agent):
    host = topology.clients[0]
    host.run(["ip", "link", "add", "aside", "type", "veth", "peer", "name", "aside2"])
    host.run(["ip", "link", "set", "aside", "up"])
    host.run(["ip", "route", "add", f"{virtual_address('ipv4')}/32", "dev", "aside"])
    host.run(["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=1"])
    try:
        done = doctor(topology, lb, agent)
    finally:
        host.run(["sysctl", "-qw", "net.ipv4.conf.eth0.rp_filter=0"])
        host.run(["ip", "link", "delete", "aside"])
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert failed and all("sysctl -w net.ipv4.conf.eth0.rp_filter=2" in line for line in failed)


def test_doctor_reads_the_counters(topology, lb, agent):
    agent.remove()
    agent.options = ("--max-pending", 1)
    agent.restart()
    with contextlib.ExitStack() as held:
        topology.appliance.run(["ip", "link", "set", "lb0", "down"])
        try:
            for _ in range(2):
                s = held.enter_context(tcp_socket(topology.clients[0], "ipv4"))
                s.setblocking(False)
                s.connect_ex((virtual_address("ipv4"), OWN))
            done = doctor(topology, lb, agent)
        finally:
            topology.appliance.run(["ip", "link", "set", "lb0", "up"])
    assert done.returncode == 1 and "raise --max-pending" in done.stdout, done.stdout
