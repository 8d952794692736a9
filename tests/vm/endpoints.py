# SPDX-License-Identifier: Apache-2.0
"""Endpoint support in a guest, of each kind, installed as an operator would: by crab-agent."""

import pathlib

from endpoint import Agent
from guest import Guest

EBPF, NETFILTER, KERNEL = KINDS = ("ebpf", "netfilter", "kernel")
KERNEL_OF = {EBPF: "stock", NETFILTER: "stock", KERNEL: "patched"}
MODULE = "crab_redirect"


class Endpoint:
    """crab-agent and what it installed; remove() leaves the guest as it was."""

    def __init__(self, guest: Guest, kind: str, role: str, content: dict | pathlib.Path,
                 module: pathlib.Path | None = None, chosen_by_agent: bool = False):
        """The agent is told the kind, for which the module is loaded first, or chooses it."""
        self.guest = guest
        self.kind = kind
        if chosen_by_agent:
            self.agent = Agent(guest, role, content)
            return
        if kind == NETFILTER:
            guest.run(["insmod", module])
        self.agent = Agent(guest, role, content, "--endpoint", kind)

    def counters(self) -> dict[str, int]:
        return self.agent.counters()

    def accepted(self, port: int) -> tuple[int, dict[str, int]]:
        """Handshakes completed at a backend's port, both families: all, and by node."""
        total, by_node = 0, {}
        for backend in self.agent.status()["backends"]:
            if backend["backend"].endswith(f":{port}"):
                total += backend["accepted"]
                for node, n in backend["accepted_by_node"].items():
                    by_node[node] = by_node.get(node, 0) + n
        return total, by_node

    def remove(self) -> None:
        self.agent.remove()
        if self.kind == NETFILTER:
            self.guest.run(["rmmod", MODULE])
