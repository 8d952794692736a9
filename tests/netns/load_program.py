# SPDX-License-Identifier: Apache-2.0
"""A client that counts, run in a client's namespace by load.py. Prints JSON lines on stdout.

    load_program.py short ADDRESS PORT CONNECTIONS CONCURRENCY [SOURCE_PORT]
    load_program.py hold ADDRESS PORT CONNECTIONS

short: that many connections, a request each. With a source port, one after the other from it, each
closed by a RST, so that the port is free for the next.
hold: opens the connections, then sends request after request on each of them; prints the count at
first, and for each line on stdin; ends with its end.
"""

import asyncio
import collections
import errno
import json
import re
import socket
import struct
import sys

_REPLY = re.compile(rb"HTTP/1.1 200 .*?content-length: (\d+)\r\n.*?\r\n\r\n", re.I | re.S)
_REQUEST = b"GET / HTTP/1.1\r\nHost: crab\r\n\r\n"
# A lost SYN is sent again after 1, 3 and 7 s: a connect() that takes longer was not just unlucky.
_DEADLINE_S = 20


class Tally:
    def __init__(self):
        self.n_requests = 0
        self.by_backend = collections.Counter()
        self.failures = collections.Counter()

    def show(self) -> None:
        print(json.dumps({"n_requests": self.n_requests, "by_backend": self.by_backend,
                          "failures": self.failures}), flush=True)


async def connect(target: tuple[str, int], source_port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in target[0] else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM)
    try:
        s.setblocking(False)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source_port:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            s.bind(("", source_port))
        await asyncio.get_running_loop().sock_connect(s, target)
    except BaseException:
        s.close()
        raise
    return s


async def request(s: socket.socket) -> str:
    """One request on an open connection; returns the name of the backend that answered."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(s, _REQUEST)
    received = b""
    while True:
        head = _REPLY.match(received)
        if head and len(received) >= head.end() + int(head[1]):
            return received[head.end():].decode().strip()
        more = await loop.sock_recv(s, 4096)
        if not more:
            raise ConnectionError("closed by the server")
        received += more


def name_of(error: Exception) -> str:
    """ECONNREFUSED and the like; in words for what has no number."""
    return errno.errorcode.get(getattr(error, "errno", None), str(error) or type(error).__name__)


async def one(target: tuple[str, int], source_port: int, tally: Tally) -> None:
    try:
        async with asyncio.timeout(_DEADLINE_S):
            s = await connect(target, source_port)
            with s:
                tally.by_backend[await request(s)] += 1
                tally.n_requests += 1
    except (OSError, TimeoutError) as error:
        tally.failures[name_of(error)] += 1


async def short(target: tuple[str, int], n: int, concurrency: int, source_port: int) -> None:
    tally = Tally()
    left = iter(range(n))

    async def worker():
        for _ in left:
            await one(target, source_port, tally)

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    tally.show()


async def hold(target: tuple[str, int], n: int) -> None:
    tally = Tally()
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    opened = asyncio.Semaphore(100)  # at once

    async def open_one() -> socket.socket | None:
        try:
            async with opened, asyncio.timeout(_DEADLINE_S):
                s = await connect(target, 0)
                tally.by_backend[await request(s)] += 1
                return s
        except (OSError, TimeoutError) as error:
            tally.failures[name_of(error)] += 1
            return None

    async def use(s: socket.socket) -> None:
        backend = None
        try:
            while not ended.is_set():
                async with asyncio.timeout(_DEADLINE_S):
                    answered = await request(s)
                if answered != (backend or answered):
                    raise ConnectionError("another backend answered")
                backend = answered
                tally.n_requests += 1
        except (OSError, TimeoutError) as error:
            tally.failures[name_of(error)] += 1
        finally:
            s.close()

    sockets = [s for s in await asyncio.gather(*(open_one() for _ in range(n))) if s]
    users = [asyncio.create_task(use(s)) for s in sockets]
    tally.show()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        tally.show()
    ended.set()
    await asyncio.gather(*users)
    tally.show()


def main() -> None:
    mode, address, port, n, *more = sys.argv[1:]
    target = (address, int(port))
    if mode == "hold":
        asyncio.run(hold(target, int(n)))
    else:
        concurrency, source_port = int(more[0]), int(more[1]) if len(more) > 1 else 0
        asyncio.run(short(target, int(n), 1 if source_port else concurrency, source_port))


main()
