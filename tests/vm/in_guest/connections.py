# SPDX-License-Identifier: Apache-2.0
"""TCP clients and servers, called by tests through the control port (guest.Guest.call).

A client's connection stays under a number until it is closed, so that a test can look at the kernel
meanwhile. All sockets have a deadline.
"""

import hashlib
import itertools
import json
import random
import socket
import struct
import threading

DEADLINE_S = 120.0

_numbers = itertools.count(1)
_connections: dict[int, socket.socket] = {}
_listeners: dict[int, socket.socket] = {}


def _content(seed: int, n_bytes: int) -> bytes:
    """The same on both sides, and nowhere the same twice."""
    return random.Random(seed).randbytes(n_bytes)


def _read_line(connection: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            raise ConnectionError(f"the connection ended after {line!r}")
        line += byte
    return line


def _digest(connection: socket.socket, n_bytes: int) -> str:
    digest = hashlib.sha256()
    while n_bytes > 0:
        part = connection.recv(min(n_bytes, 1 << 20))
        if not part:
            raise ConnectionError(f"{n_bytes} bytes are missing")
        digest.update(part)
        n_bytes -= len(part)
    return digest.hexdigest()


def _serve_transfer(connection: socket.socket) -> None:
    """What transfer() asks for: takes bytes, says their hash, sends bytes."""
    connection.settimeout(DEADLINE_S)
    with connection:
        if not connection.recv(1, socket.MSG_PEEK):
            return  # a client that only connects
        wanted = json.loads(_read_line(connection))
        digest = _digest(connection, wanted["upload"])
        connection.sendall(digest.encode() + b"\n")
        connection.sendall(_content(wanted["seed"], wanted["download"]))
        if not wanted["server_closes"]:
            connection.recv(1)


def _serve(listener: socket.socket, closes_at_once: bool) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return  # closed
        if closes_at_once:
            connection.close()
        else:
            threading.Thread(target=_serve_transfer, args=[connection], daemon=True).start()


def listen(port: int, closes_at_once: bool = False, backlog: int = 4096) -> None:
    """A dual-stack server on a port: of transfer(), or one that only accepts and closes."""
    listener = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True,
                                    backlog=backlog)
    _listeners[port] = listener
    threading.Thread(target=_serve, args=[listener, closes_at_once], daemon=True).start()


def unlisten(port: int) -> None:
    listener = _listeners.pop(port)
    listener.shutdown(socket.SHUT_RDWR)  # a thread in accept() would keep a closed one alive
    listener.close()


def _new_socket(address: str, source_port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(DEADLINE_S)
    if source_port:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", source_port))
    return made


def connect(address: str, port: int, source_port: int = 0) -> int:
    """Connects; the connection's number."""
    made = _new_socket(address, source_port)
    made.connect((address, port))
    number = next(_numbers)
    _connections[number] = made
    return number


def begin_connect(address: str, port: int) -> int:
    """Sends the SYN and does not wait."""
    made = _new_socket(address, 0)
    made.setblocking(False)
    try:
        made.connect((address, port))
    except BlockingIOError:
        pass
    made.settimeout(DEADLINE_S)
    number = next(_numbers)
    _connections[number] = made
    return number


def connect_error(address: str, port: int) -> int | None:
    """Errno of an attempt; None if it succeeds, and is closed at once."""
    with _new_socket(address, 0) as made:
        return made.connect_ex((address, port)) or None


def names(number: int) -> dict:
    """Local port, and the peer as getpeername() has it."""
    made = _connections[number]
    return {"port": made.getsockname()[1], "peer": list(made.getpeername()[:2])}


def local_port(number: int) -> int:
    return _connections[number].getsockname()[1]


def wait_end(number: int) -> None:
    """Until the server has closed."""
    if _connections[number].recv(1) != b"":
        raise ConnectionError("bytes that nobody sent")


def state(number: int) -> int:
    """As TCP_INFO has it: 1 is ESTABLISHED, 2 SYN-SENT, 7 CLOSE."""
    return _connections[number].getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]


def transfer(number: int, upload: int, download: int, server_closes: bool = False) -> None:
    """Moves bytes both ways and compares hashes; an exception if anything differs. Then the
    server closes, or waits for us to."""
    connection = _connections[number]
    seed = random.getrandbits(32)
    connection.sendall(json.dumps({"upload": upload, "download": download, "seed": seed,
                                   "server_closes": server_closes}).encode() + b"\n")
    sent = _content(seed + 1, upload)
    connection.sendall(sent)
    if _read_line(connection).decode().strip() != hashlib.sha256(sent).hexdigest():
        raise ConnectionError("what the server received is not what was sent")
    expected = hashlib.sha256(_content(seed, download)).hexdigest()
    if _digest(connection, download) != expected:
        raise ConnectionError("what was received is not what the server sent")
    if server_closes and connection.recv(1) != b"":
        raise ConnectionError("the server sent more than it said")


def close(number: int) -> None:
    _connections.pop(number).close()


def abort(number: int) -> None:
    """Ends it by a RST, or in SYN-SENT by nothing: no FIN goes on after the test."""
    made = _connections.pop(number)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.close()


def _connect_once(address: str, port: int, client_closes: bool, failures: dict[str, int],
                  deadline_s: float = DEADLINE_S) -> None:
    try:
        with _new_socket(address, 0) as made:
            made.settimeout(deadline_s)
            made.connect((address, port))
            if not client_closes and made.recv(1) != b"":
                raise ConnectionError("bytes that nobody sent")
    except OSError as error:
        failures[str(error)] = failures.get(str(error), 0) + 1


def connect_many(address: str, port: int, n: int, client_closes: bool) -> dict[str, int]:
    """n connections, one after the other; what went wrong, by its name. Unless the client closes
    them, the server must be one that closes at once."""
    failures: dict[str, int] = {}
    for _ in range(n):
        _connect_once(address, port, client_closes, failures)
    return failures


class _Loop(threading.Thread):
    def __init__(self, address: str, port: int, deadline_s: float):
        super().__init__(daemon=True)
        self.end = threading.Event()
        self.failures: dict[str, int] = {}
        self._to = address, port
        self._deadline_s = deadline_s

    def run(self) -> None:
        while not self.end.is_set():
            _connect_once(*self._to, True, self.failures, self._deadline_s)


_loops: list[_Loop] = []


def begin_loops(address: str, port: int, n: int, deadline_of_each_s: float) -> None:
    """Connections one after the other, from n threads, until end_loops()."""
    for _ in range(n):
        _loops.append(_Loop(address, port, deadline_of_each_s))
        _loops[-1].start()


def end_loops() -> dict[str, int]:
    """What went wrong, by its name."""
    failures: dict[str, int] = {}
    for loop in _loops:
        loop.end.set()
    for loop in _loops:
        loop.join(2 * DEADLINE_S)
        for name, n in loop.failures.items():
            failures[name] = failures.get(name, 0) + n
    _loops.clear()
    return failures
