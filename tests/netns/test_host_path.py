# SPDX-License-Identifier: Apache-2.0
"""What is not a SYN with an offer: the kernel's own traffic, and clients that must fail fast."""

import pytest
from capture import ACK, RST, SYN, Capture
from crab import VIRTUAL_PORT, Deployment
from load import run_short
from topology import APPLIANCE_NUMBER, address, create_topology, in_url, virtual_address
from web import PORT


@pytest.fixture(scope="module")
def topology():
    with create_topology(n_clients=2, n_backends=1) as made:
        yield made


@pytest.fixture(scope="module")
def crab(topology) -> Deployment:
    """c1 has an agent, c2 has none."""
    return Deployment(topology, clients=topology.clients[:1])


def test_the_appliance_and_the_virtual_address_answer_ping(topology, crab, family):
    for target in (address(family, APPLIANCE_NUMBER), virtual_address(family)):
        topology.clients[1].run(["ping", "-c", "3", "-i", "0.2", "-W", "5", target])


def test_large_and_fragmented_pings_pass(topology, crab, family):
    # Not over 2,000 bytes: net_af_packet asks the kernel to reassemble IPv4 fragments
    # (PACKET_FANOUT_FLAG_DEFRAG), and cuts what is then longer than its frames.
    for size in (1400, 1800):
        topology.clients[1].run(["ping", "-c", "1", "-W", "5", "-s", size,
                                 address(family, APPLIANCE_NUMBER)])


def test_arp_and_neighbour_discovery_are_answered_with_the_ports_mac(topology, crab, family):
    client = topology.clients[1]
    mac = link_address(topology.appliance, "lb0")
    for target in (address(family, APPLIANCE_NUMBER), virtual_address(family)):
        client.run(["ip", "neigh", "flush", "dev", "eth0"])
        client.run(["ping", "-c", "1", "-W", "5", target])
        assert f" lladdr {mac} " in client.run(["ip", "neigh", "show", target]).stdout


def link_address(host, interface: str) -> str:
    words = host.run(["ip", "-o", "link", "show", interface]).stdout.split()
    return words[words.index("link/ether") + 1]


def test_ssh_to_the_appliance(topology, crab, family):
    directory = topology.sandbox.directory / f"ssh-{family}"
    directory.mkdir()
    appliance, client = topology.appliance, topology.clients[1]
    for key in ("host", "user"):
        client.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / key])
    server = appliance.start(f"sshd-{family}", [
        "sh", "-c", 'mkdir -p /run/sshd && exec /usr/sbin/sshd "$@"', "sshd", "-D", "-e",
        "-f", "/dev/null", "-h", directory / "host",
        "-o", f"AuthorizedKeysFile={directory}/user.pub", "-o", "StrictModes=no",
        "-o", f"ListenAddress={in_url(address(family, APPLIANCE_NUMBER))}:22"])
    server.wait_ready(lambda: "listening on" in server.output())
    done = client.run(["ssh", "-F", "/dev/null", "-i", directory / "user", "-o",
                       "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={directory}/known",
                       f"root@{address(family, APPLIANCE_NUMBER)}", "echo", "reached"])
    assert done.stdout == "reached\n"
    server.stop(check=False)


def test_a_client_without_an_agent_is_refused(topology, crab, family):
    before = crab.lb.verdicts()["no_offer"]
    done = run_short(topology.clients[1], virtual_address(family), VIRTUAL_PORT, 5)
    assert (done.by_backend, done.failures) == ({}, {"ECONNREFUSED": 5})
    assert crab.lb.verdicts()["no_offer"] == before + 5
    # Where the same client goes directly, it is served.
    direct = run_short(topology.clients[1], topology.backends[0].address(family), PORT, 5)
    assert direct.by_backend == {"b1": 5}


_SEND_SEGMENT = """
import sys
from scapy.all import IP, IPv6, TCP, raw
import socket
source, target, port, flags = sys.argv[1:]
family = socket.AF_INET6 if ":" in target else socket.AF_INET
ip = (IPv6 if ":" in target else IP)(src=source, dst=target)
segment = (ip.__class__)(raw(ip / TCP(sport=20047, dport=int(port), flags=flags, seq=1, ack=99)))
with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as s:
    s.sendto(raw(segment.payload), (target, 0))
"""


def send_segment(client, family: str, flags: str) -> None:
    """A TCP segment that belongs to no connection, from port 20047 to the service."""
    client.run(["/usr/bin/python3", "-B", "-c", _SEND_SEGMENT, client.address(family),
                virtual_address(family), VIRTUAL_PORT, flags])


def test_a_stray_segment_is_answered_with_rst(topology, crab, family):
    client = topology.clients[1]
    before = crab.lb.verdicts()
    with Capture(client, "eth0", "tcp port 20047") as capture:
        send_segment(client, family, "A")
        crab.lb.wait_counted("not_syn", before["not_syn"] + 1)
        capture.wait_for(1)
    (answer,) = capture.segments
    assert answer.source == virtual_address(family)
    # RFC 9293, 3.10.7.1: to a segment with ACK, the reset takes its number from there.
    assert (answer.flags & (RST | ACK | SYN), answer.sequence) == (RST, 99)


def test_a_stray_rst_is_not_answered(topology, crab, family):
    client = topology.clients[1]
    before = crab.lb.verdicts()
    with Capture(client, "eth0", "tcp port 20047") as capture:
        send_segment(client, family, "R")
        crab.lb.wait_counted("rst", before["rst"] + 1)
    assert capture.segments == []


def test_every_packet_has_one_verdict(topology, crab, family):
    """Runs after the mix of traffic above."""
    assert run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 200).failures == {}
    datapath = crab.lb.stats()["datapath"]
    verdicts = {v["verdict"]: int(v.get("packets", 0)) for v in datapath["verdicts"]}
    assert int(datapath["received_packets"]) == sum(verdicts.values())
    seen = {name for name, n in verdicts.items() if n > 0}
    assert {"redirected", "host", "no_offer", "not_syn", "rst"} <= seen
