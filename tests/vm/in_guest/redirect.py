# SPDX-License-Identifier: Apache-2.0
"""The generic netlink family of kernel_patch/uapi/tcp_redirect_netlink.h, spoken from the header
alone: it checks the kernel without crab-agent, and sends what crab-agent never would."""

import ipaddress
import os
import socket
import struct

_NETLINK_GENERIC, _CTRL = 16, 0x10
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_REQUEST, _ACK, _DUMP = 1, 4, 0x300
_ERROR, _DONE = 2, 3
NESTED = 0x8000

GET_INFO, SET, GET_SERVICES, GET_PREFIXES, GET_COUNTERS, GET_ACCEPTED = range(1, 7)
(A_PAD, A_IMPLEMENTATION, A_VERSION, A_ROLES, A_N_SERVICES, A_N_PREFIXES, A_N_PENDING,
 A_MAX_PENDING, A_N_ECHOES, A_MAX_ECHOES, A_SERVICE, A_PREFIX, A_COUNTER, A_ACCEPTED) = range(1, 15)
SERVICE_ADDRESS, SERVICE_PORT, SERVICE_FORM, SERVICE_KEY, SERVICE_N_KEYS = range(1, 6)
PREFIX_ADDRESS, PREFIX_LENGTH = 1, 2


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> list[tuple[int, bytes]]:
    found, at = [], 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        found.append((kind & 0x3FFF, data[at + 4:at + length]))
        at += (length + 3) & ~3
    return found


class Refused(Exception):
    """By the kernel: an errno, and what the extended ack says."""

    def __init__(self, number: int, message: str, offset: int | None):
        super().__init__(f"{os.strerror(number)}: {message} (at {offset})")
        self.number, self.message, self.offset = number, message, offset


class Family:
    """In the network namespace of whoever makes it."""

    def __init__(self):
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
        self._socket.setsockopt(_SOL_NETLINK, _EXT_ACK, 1)
        self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
        self._socket.settimeout(60)
        self._socket.bind((0, 0))
        self._sequence = 0
        self.id = _CTRL
        (described,) = self.ask(3, attribute(2, b"tcp_redirect\0"), version=2)
        self.id = struct.unpack("=H", dict(described)[1])[0]

    def ask(self, command: int, payload: bytes = b"", *, dump: bool = False,
            version: int = 1) -> list[list[tuple[int, bytes]]]:
        """The attributes of each message of the answer. Raises Refused."""
        self._sequence += 1
        flags = _REQUEST | (_DUMP if dump else _ACK)
        self._socket.send(struct.pack("=IHHIIBBH", 20 + len(payload), self.id, flags,
                                      self._sequence, 0, command, version, 0) + payload)
        answers = []
        while True:
            data = self._socket.recv(1 << 20)
            while data:
                length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
                message, data = data[16:length], data[(length + 3) & ~3:]
                if sequence != self._sequence:
                    continue
                if kind == _ERROR:
                    self._raise_if_refused(message, flags)
                    return answers
                if kind == _DONE:
                    if len(message) >= 4:
                        self._raise_if_refused(message, flags)
                    return answers
                answers.append(attributes(message[4:]))

    @staticmethod
    def _raise_if_refused(message: bytes, flags: int) -> None:
        (number,) = struct.unpack_from("=i", message)
        if number == 0:
            return
        # _CAP_ACK: the request's header alone is repeated, and the extended ack follows it.
        extended = dict(attributes(message[20:])) if flags & 0x200 else {}
        offset = extended.get(2)
        raise Refused(-number, extended.get(1, b"").rstrip(b"\0").decode(),
                      struct.unpack("=I", offset)[0] if offset else None)


def service(address: str, port: int, form: int, keys: list[str] | tuple = ()) -> bytes:
    """The attribute of a service; keys in hexadecimal digits."""
    content = (attribute(SERVICE_ADDRESS, ipaddress.ip_address(address).packed)
               + attribute(SERVICE_PORT, struct.pack(">H", port))
               + attribute(SERVICE_FORM, bytes([form])))
    content += b"".join(attribute(SERVICE_KEY, bytes.fromhex(key)) for key in keys)
    return attribute(A_SERVICE | NESTED, content)


def prefix(text: str) -> bytes:
    network = ipaddress.ip_network(text)
    return attribute(A_PREFIX | NESTED,
                     attribute(PREFIX_ADDRESS, network.network_address.packed)
                     + attribute(PREFIX_LENGTH, bytes([network.prefixlen])))


def configure(roles: int, services: list[list] = (), prefixes: list[str] = ()) -> None:
    """Each service as the arguments of service()."""
    Family().ask(SET, attribute(A_ROLES, bytes([roles]))
                 + b"".join(service(*one) for one in services)
                 + b"".join(map(prefix, prefixes)))


def set_raw(payload: str) -> dict | None:
    """Sends hexadecimal attributes as SET; None if they were taken, otherwise why not."""
    try:
        Family().ask(SET, bytes.fromhex(payload))
    except Refused as refused:
        return {"errno": refused.number, "message": refused.message, "offset": refused.offset}
    return None


def directory() -> str:
    """Of this module, for programs of their own."""
    return os.path.dirname(os.path.abspath(__file__))


def is_present() -> bool:
    try:
        Family()
    except Refused:
        return False
    return True


def info() -> dict:
    (answer,) = Family().ask(GET_INFO)
    names = {A_ROLES: "roles", A_N_SERVICES: "n_services", A_N_PREFIXES: "n_prefixes",
             A_N_PENDING: "n_pending", A_MAX_PENDING: "max_pending", A_N_ECHOES: "n_echoes",
             A_MAX_ECHOES: "max_echoes", A_IMPLEMENTATION: "implementation"}
    numbers = {names[kind]: int.from_bytes(value, "little") for kind, value in answer
               if kind in names}
    return numbers | {"version": dict(answer)[A_VERSION].rstrip(b"\0").decode()}


def counters() -> dict[str, int]:
    found = {}
    for answer in Family().ask(GET_COUNTERS, dump=True):
        for kind, value in answer:
            if kind == A_COUNTER:
                one = dict(attributes(value))
                found[one[2].rstrip(b"\0").decode()] = struct.unpack("=Q", one[3])[0]
    return found


def _address(packed: bytes) -> str:
    return str(ipaddress.ip_address(packed))


def accepted() -> list[dict]:
    found = []
    for answer in Family().ask(GET_ACCEPTED, dump=True):
        for kind, value in answer:
            if kind == A_ACCEPTED:
                one = dict(attributes(value))
                found.append({"address": _address(one[2]), "node": one[4][0],
                              "port": struct.unpack(">H", one[3])[0],
                              "count": struct.unpack("=Q", one[5])[0]})
    return found


def services() -> list[dict]:
    found = []
    for answer in Family().ask(GET_SERVICES, dump=True):
        for kind, value in answer:
            if kind == A_SERVICE:
                one = dict(attributes(value))
                found.append({"address": _address(one[SERVICE_ADDRESS]),
                              "port": struct.unpack(">H", one[SERVICE_PORT])[0],
                              "form": one[SERVICE_FORM][0], "n_keys": one[SERVICE_N_KEYS][0],
                              "shows_key": SERVICE_KEY in one})
    return found


def prefixes() -> list[str]:
    found = []
    for answer in Family().ask(GET_PREFIXES, dump=True):
        for kind, value in answer:
            if kind == A_PREFIX:
                one = dict(attributes(value))
                found.append(f"{_address(one[PREFIX_ADDRESS])}/{one[PREFIX_LENGTH][0]}")
    return found
