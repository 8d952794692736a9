# SPDX-License-Identifier: Apache-2.0
"""Request and response of a byte over an established loopback connection: a packet each way, and
each passes the hooks of both directions."""

import socket
import time


def round_trip_ns(n: int, rounds: int, family: str) -> list[float]:
    """Of each round, a trip's mean."""
    kind, address = ((socket.AF_INET, "127.0.0.1") if family == "ipv4"
                     else (socket.AF_INET6, "::1"))
    with socket.create_server((address, 0), family=kind) as listener:
        with socket.socket(kind) as client:
            client.connect(listener.getsockname())
            server, _ = listener.accept()
            with server:
                for end in client, server:
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return [_round(client, server, n) / n for _ in range(rounds)]


def _round(client: socket.socket, server: socket.socket, n: int) -> int:
    began = time.monotonic_ns()
    for _ in range(n):
        client.send(b"x")
        server.send(server.recv(1))
        client.recv(1)
    return time.monotonic_ns() - began
