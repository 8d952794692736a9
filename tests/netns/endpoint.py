# SPDX-License-Identifier: Apache-2.0
"""What tests of the endpoint need: sockets and raw frames of a host, and the agent's counters."""

import contextlib
import ctypes
import json
import os
import pathlib
import socket
import subprocess
from collections.abc import Iterator

import yaml
from crab import program, start_agent
from process import Daemon, wait_until
from sandbox import cgroup2_root
from topology import Host, in_url

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _enter(namespace: pathlib.Path) -> None:
    with open(namespace) as handle:
        if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")


@contextlib.contextmanager
def entered(host: Host) -> Iterator[None]:
    """Sockets made inside belong to the host's network namespace and cgroup, for good."""
    own = pathlib.Path("/proc/self/cgroup").read_text().split("0::/")[1].split("\n")[0]
    own_cgroup = cgroup2_root() / own / "cgroup.procs"
    (host.cgroup / "cgroup.procs").write_text(str(os.getpid()))
    try:
        with open("/proc/self/ns/net") as own_namespace:
            _enter(host.path)
            try:
                yield
            finally:
                _libc.setns(own_namespace.fileno(), _CLONE_NEWNET)
    finally:
        own_cgroup.write_text(str(os.getpid()))


def tcp_socket(host: Host, family: str, source_port: int = 0) -> socket.socket:
    """Not connected; a deadline, so that no test hangs."""
    with entered(host):
        made = socket.socket(socket.AF_INET if family == "ipv4" else socket.AF_INET6)
    made.settimeout(30)
    if source_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host.address(family), source_port))
    return made


def listener(host: Host, family: str, port: int) -> socket.socket:
    made = tcp_socket(host, family)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((host.address(family), port))
    made.listen(64)
    return made


_OPEN_STATES = {"ESTAB", "FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING", "LAST-ACK"}


def shown_by_ss(host: Host, family: str, port: int) -> int:
    """Connections of a local address and port, from ESTABLISHED to LAST-ACK."""
    names = {f"{in_url(host.address(family))}:{port}", f"[::ffff:{host.address(family)}]:{port}"}
    rows = [line.split() for line in host.run(["ss", "-Htan"]).stdout.splitlines()]
    return sum(row[0] in _OPEN_STATES and row[3] in names for row in rows)


def frame_socket(host: Host, interface: str = "eth0") -> socket.socket:
    """Sends and receives whole frames."""
    with entered(host):
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((interface, 0))
    made.settimeout(30)
    return made


def mac_of(host: Host, interface: str = "eth0") -> str:
    return json.loads(host.run(["ip", "-j", "link", "show", interface]).stdout)[0]["address"]


class Agent:
    """crab-agent on a host, with a file, with one of its own if a configuration is given, or with
    none."""

    def __init__(self, host: Host, role: str, content: dict | pathlib.Path | None,
                 *options: object):
        self.host = host
        self.role = role
        self.path = content
        if isinstance(content, dict):
            self.path = host.sandbox.directory / f"{host.host}-agent.yaml"
            self.configure(content)
        self.options = options
        self.daemon: Daemon = self._start()

    def _start(self) -> Daemon:
        return start_agent(self.host, self.path, self.role, *self.options)

    def configure(self, content: dict) -> None:
        self.path.write_text(yaml.safe_dump(content))

    def restart(self) -> None:
        self.daemon = self._start()

    def command(self, *words: object, **options) -> subprocess.CompletedProcess:
        return self.host.run([program("crab-agent"), words[0], "--pin-dir",
                              self.host.pin_directory, *words[1:]], **options)

    def status(self) -> dict:
        return json.loads(self.command("status", "--flows", "-o", "json").stdout)

    def counters(self) -> dict[str, int]:
        return self.status()["counters"]

    def remove(self) -> None:
        """The daemon and, at once, what it installed."""
        self.daemon.stop(check=False)
        self.command("remove", "--force", check=False)


class Deltas:
    """What an agent's counters did since it was made."""

    def __init__(self, agent: Agent):
        self._agent = agent
        self._before = agent.counters()

    def now(self) -> dict[str, int]:
        """Those that moved."""
        after = self._agent.counters()
        return {name: n - self._before[name] for name, n in after.items()
                if n != self._before[name]}

    def rejects(self) -> dict[str, int]:
        return {name: n for name, n in self.now().items() if name.startswith("reject_")}

    def wait_for(self, name: str, n: int = 1) -> None:
        wait_until(lambda: self.now().get(name, 0) >= n, f"{name} to rise by {n}")
