# SPDX-License-Identifier: Apache-2.0
"""Which endpoint crab-agent chooses on a kernel that has none of its own, and what it says. With one,
see tests/vm."""

import json
import struct

import pytest
from crab import program
from endpoint import Agent
from topology import virtual_address

SERVICE = {"name": "web", "address": virtual_address("ipv4"), "port": 80}
ABSENT = "kernel patch and netfilter module: absent (no generic netlink family tcp_redirect)"
REMEDIES = {
    "netfilter": "`modprobe crab_redirect` says why; docs/endpoints.md has how DKMS installs it",
    "kernel": "is without the patch series: boot one built with kernel_patch/linux-6.1",
}


@pytest.fixture
def host(topology):
    return topology.clients[0]


@pytest.fixture
def agent(host):
    made = Agent(host, "client", {"services": [SERVICE]})
    yield made
    made.remove()


def run_once(host, content: str, *options: object):
    """`crab-agent run` that is expected to end by itself."""
    path = host.sandbox.directory / "once.yaml"
    path.write_text(content)
    return host.run([program("crab-agent"), "run", "--config", path, "--role", "both", "--cgroup",
                     host.cgroup, "--pin-dir", host.pin_directory, *options], check=False)


def nothing_installed(host) -> bool:
    return host.run(["tc", "filter", "show", "dev", "eth0", "ingress"]).stdout == "" and \
        list(host.pin_directory.rglob("*")) == []


@pytest.mark.parametrize("kind", REMEDIES)
def test_a_named_endpoint_that_is_absent_is_an_error(host, kind):
    done = run_once(host, "services: []\n", "--interface", "eth0", "--endpoint", kind)
    assert done.returncode == 1
    assert done.stderr.startswith(f"crab-agent: endpoint {kind}: ")
    assert REMEDIES[kind] in done.stderr and done.stderr.count("\n") == 1
    assert nothing_installed(host)


def test_the_file_may_name_it_too(host):
    done = run_once(host, "agent: { endpoint: kernel }\n", "--interface", "eth0")
    assert done.returncode == 1 and "endpoint kernel: " in done.stderr
    done = run_once(host, "agent: { endpoint: iptables }\n", "--interface", "eth0")
    assert done.returncode == 1
    assert "agent.endpoint: 'iptables' is none of auto, ebpf, netfilter, kernel" in done.stderr
    assert nothing_installed(host)


def test_ebpf_needs_an_interface(host):
    done = run_once(host, "services: []\n")
    assert done.returncode == 1
    assert f"--interface is required with endpoint ebpf ({ABSENT})" in done.stderr


def test_no_other_kind_is_known(host):
    done = run_once(host, "services: []\n", "--interface", "eth0", "--endpoint", "xdp")
    assert done.returncode != 0 and "--endpoint" in done.stderr


def test_auto_says_which_and_why(agent):
    assert f"endpoint ebpf: {ABSENT}" in agent.daemon.output()
    status = agent.status()
    assert status["endpoint"] == {"kind": "ebpf", "why": ABSENT, "implementation": "",
                                  "roles": ["client"]}
    assert status["flows"] == {"open": 0, "closing": 0}
    assert agent.command("status").stdout.splitlines()[:3] == [
        f"endpoint    ebpf: {ABSENT}", "interfaces  eth0", "roles       client"]


def test_the_command_line_wins(agent):
    agent.daemon.stop()
    agent.configure({"services": [SERVICE], "agent": {"endpoint": "netfilter"}})
    agent.options = ("--endpoint", "ebpf")
    agent.restart()
    assert agent.status()["endpoint"]["why"] == "asked for"


def test_an_endpoint_without_a_record_is_ebpf(agent):
    agent.daemon.stop()
    (pin,) = agent.host.pin_directory.rglob("endpoint")
    pin.unlink()
    assert agent.status()["endpoint"]["kind"] == "ebpf"
    assert len(agent.status()["services"]) == 1
    agent.restart()
    assert agent.status()["endpoint"]["why"] == ABSENT


def claim_other_kind(agent) -> None:
    """As a kernel endpoint leaves it behind whose module was unloaded."""
    (pin,) = agent.host.pin_directory.rglob("endpoint")
    shown = json.loads(agent.host.run(["bpftool", "-j", "map", "dump", "pinned", pin]).stdout)
    value = bytearray(int(byte, 16) for byte in shown[0]["value"])
    struct.pack_into("=I", value, 8, 2)
    agent.host.run(["bpftool", "map", "update", "pinned", pin, "key", 0, 0, 0, 0, "value",
                    *value])


def test_a_module_that_is_gone_is_said_and_replaced(agent):
    agent.daemon.stop()
    claim_other_kind(agent)
    status = agent.status()
    assert status["endpoint"]["kind"] == "netfilter"
    assert status["endpoint"]["implementation"] == "not there any more: modprobe crab_redirect"
    assert status["flows"] is None and status["counters"] == {} and not status["offers"]
    agent.restart()
    assert "the endpoint netfilter that was installed is removed" in agent.daemon.output()
    assert agent.status()["endpoint"]["kind"] == "ebpf" and agent.status()["offers"]


def test_a_module_that_is_gone_can_be_removed(agent):
    agent.daemon.stop()
    claim_other_kind(agent)
    assert agent.command("remove").returncode == 0
    assert list(agent.host.pin_directory.rglob("*")) == []
    agent.restart()  # the programs, which no real endpoint of that kind has, go with it


def doctor(agent, *options: object):
    return agent.command("doctor", "--config", agent.path, "--role", "client", "--cgroup",
                         agent.host.cgroup, *options, check=False)


def test_doctor_names_the_endpoint(agent):
    done = doctor(agent, "--interface", "eth0")
    assert done.returncode == 0, done.stdout
    assert f"ok    endpoint ebpf: {ABSENT}" in done.stdout.splitlines()
    assert "ok    ebpf is installed" in done.stdout.splitlines()


def test_doctor_without_an_interface(agent):
    done = doctor(agent)
    assert done.returncode == 1
    assert "FAIL  no --interface; the eBPF endpoint works where the service's packets pass" in \
        done.stdout.splitlines()


@pytest.mark.parametrize("kind", REMEDIES)
def test_doctor_for_an_endpoint_that_is_absent(agent, kind):
    done = doctor(agent, "--endpoint", kind)
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 2, done.stdout
    assert failed[0].startswith(f"FAIL  endpoint {kind}: ") and REMEDIES[kind] in failed[0]
    assert failed[1].startswith("FAIL  ebpf is installed; ")
    assert "tc programs" not in done.stdout and "cgroup" not in done.stdout
