# SPDX-License-Identifier: Apache-2.0
"""The redirect option's tag, written from docs/wire-format.md and the SipHash paper (Aumasson,
Bernstein, 2012) alone, so that it checks the C that everything else shares."""

import ipaddress
import struct

_MASK = (1 << 64) - 1


def _rotate(x: int, n: int) -> int:
    return (x << n | x >> (64 - n)) & _MASK


def _rounds(v: list[int], n: int) -> None:
    for _ in range(n):
        v[0] = (v[0] + v[1]) & _MASK
        v[1] = _rotate(v[1], 13) ^ v[0]
        v[0] = _rotate(v[0], 32)
        v[2] = (v[2] + v[3]) & _MASK
        v[3] = _rotate(v[3], 16) ^ v[2]
        v[0] = (v[0] + v[3]) & _MASK
        v[3] = _rotate(v[3], 21) ^ v[0]
        v[2] = (v[2] + v[1]) & _MASK
        v[1] = _rotate(v[1], 17) ^ v[2]
        v[2] = _rotate(v[2], 32)


def siphash24(key: bytes, message: bytes, n_bytes: int = 8) -> bytes:
    """SipHash-2-4; with n_bytes 16, its 128 bit variant."""
    k0, k1 = struct.unpack("<QQ", key)
    v = [k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D,
         k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573]
    if n_bytes == 16:
        v[1] ^= 0xEE
    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xEE if n_bytes == 16 else 0xFF
    _rounds(v, 4)
    result = struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    if n_bytes == 16:
        v[1] ^= 0xDD
        _rounds(v, 4)
        result += struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])
    return result


def tag(key: bytes, virtual: tuple[str, int], backend: tuple[str, int], client: tuple[str, int],
        isn: int) -> bytes:
    def packed(end: tuple[str, int]) -> bytes:
        return ipaddress.ip_address(end[0]).packed + struct.pack(">H", end[1])

    client_key = siphash24(key, ipaddress.ip_address(client[0]).packed, 16)
    return siphash24(client_key, packed(virtual) + packed(backend) + packed(client)
                     + struct.pack(">I", isn))
