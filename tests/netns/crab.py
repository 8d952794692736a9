# SPDX-License-Identifier: Apache-2.0
"""Crab on a topology: crab-lb on the appliance, crab-agent on the other hosts, crabctl.

One configuration file serves them all, as it does on a real network until there is a shared store.
"""

import json
import os
import pathlib
import subprocess

import yaml
from process import Daemon, wait_until
from topology import FAMILIES, Host, Topology, virtual_address, with_length
from web import PORT, WebServer

VIRTUAL_PORT = 80


def program(name: str) -> pathlib.Path:
    """One that meson built; CRAB_BUILD names the build directory."""
    directory = os.environ.get("CRAB_BUILD")
    if directory is None:
        raise RuntimeError("CRAB_BUILD is not set: it names the build directory")
    for path in pathlib.Path(directory).rglob(name):
        if path.is_file() and os.access(path, os.X_OK):
            return path
    raise RuntimeError(f"no {name} in {directory}: ./dev build makes it")


def control_socket(directory: pathlib.Path, host: str = "lb") -> str:
    """crab-lb's in a sandbox's directory, as crabctl's --server and CRAB_SERVER take it."""
    return f"unix:{directory}/{host}-control.sock"


def service_name(family: str) -> str:
    return f"web-{family}"


def service(family: str, backends: list[Host], *, name: str | None = None,
            port: int = VIRTUAL_PORT, backend_port: int = PORT) -> dict:
    """A service as the configuration file has it."""
    return {"name": name or service_name(family), "address": virtual_address(family), "port": port,
            "policy": {"name": "round_robin"},
            "backends": [{"id": backend.host, "address": backend.address(family),
                          "port": backend_port} for backend in backends]}


def configuration(topology: Topology, services: list[dict] | None = None, n_workers: int = 1,
                  appliance: Host | None = None) -> dict:
    """A whole configuration; without services, a web service for each family over all backends."""
    appliance = appliance or topology.appliance
    if services is None:
        services = [service(family, topology.backends) for family in FAMILIES]
    return {
        "node": 1,
        "dataplane": {
            "workers": sorted(os.sched_getaffinity(0))[:n_workers],
            "hugepages": False, "memory_mib": 256, "recent_syn_entries": 65536,
            "ports": [{"vdev": "net_af_packet0,iface=lb0", "host_interface": "crab0",
                       "addresses": [with_length(family, appliance.number) for family in FAMILIES],
                       "mtu": topology.mtu}],
        },
        "control": {"listen": [control_socket(topology.sandbox.directory, appliance.host)]},
        "services": services,
    }


class CrabLb:
    """crab-lb on an appliance, the topology's first. It may be killed and started again."""

    def __init__(self, topology: Topology, content: dict, appliance: Host | None = None):
        self.host = appliance or topology.appliance
        self.path = self.host.sandbox.directory / f"{self.host.host}.yaml"
        self.path.write_text(yaml.safe_dump(content, sort_keys=False))
        self.socket = content["control"]["listen"][0]
        self.daemon: Daemon | None = None

    def start(self) -> "CrabLb":
        """Returns when every configured backend is eligible."""
        self.daemon = self.host.start("crab-lb", [program("crab-lb"), "--config", self.path])
        self.daemon.wait_ready(self.is_ready)
        return self

    def is_ready(self) -> bool:
        done = self.ctl("stats", "-o", "json", check=False)
        if done.returncode != 0:
            return False
        return all(int(s.get("eligible_backends", 0)) == int(s.get("backends", 0))
                   for s in json.loads(done.stdout)["services"])

    def ctl(self, *words: object, check: bool = True, **options) -> subprocess.CompletedProcess:
        return self.host.run([program("crabctl"), "--server", self.socket, *words], check=check,
                             **options)

    def stats(self) -> dict:
        return json.loads(self.ctl("stats", "-o", "json").stdout)

    def verdicts(self) -> dict[str, int]:
        return {v["verdict"]: int(v.get("packets", 0))
                for v in self.stats()["datapath"]["verdicts"]}

    def n_recalled(self) -> int:
        return int(self.stats()["datapath"].get("recalled_syns", 0))

    def wait_counted(self, verdict: str, n: int) -> None:
        """Waits until a verdict's counter has reached n."""
        wait_until(lambda: self.verdicts()[verdict] >= n, f"{verdict} to reach {n}")

    def backends(self, family: str) -> dict[str, dict]:
        """By id, as `crabctl backend list` has them."""
        done = self.ctl("backend", "list", service_name(family), "-o", "json")
        return {backend["id"]: backend for backend in json.loads(done.stdout)["backends"]}


def start_agent(host: Host, configuration_path: pathlib.Path | None, role: str,
                *options: object) -> Daemon:
    """crab-agent on a host: a client's, a server's, or both. Without a file, options name a node."""
    file = ["--config", configuration_path] if configuration_path else []
    agent = host.start("crab-agent", [
        program("crab-agent"), "run", *file, "--role", role, "--interface", "eth0",
        "--cgroup", host.cgroup, "--pin-dir", host.pin_directory, *options],
        notify=True)
    return agent.wait_ready()


class Deployment:
    """Everything: nginx and a server's agent on each backend, crab-lb, an agent on each client."""

    def __init__(self, topology: Topology, content: dict | None = None,
                 clients: list[Host] | None = None, **server_options):
        self.topology = topology
        self.lb = CrabLb(topology, content or configuration(topology))
        self.servers = [WebServer(host, **server_options) for host in topology.backends]
        self.lb.start()
        self.agents = [start_agent(host, self.lb.path, "server") for host in topology.backends]
        self.agents += [start_agent(host, self.lb.path, "client")
                        for host in (topology.clients if clients is None else clients)]
