# SPDX-License-Identifier: Apache-2.0
"""The guest's kernel: what its files say, and kmemleak."""

import pathlib
import time

_KMEMLEAK = pathlib.Path("/sys/kernel/debug/kmemleak")


def read(path: str) -> str:
    return pathlib.Path(path).read_text()


def write(path: str, text: str) -> None:
    pathlib.Path(path).write_text(text)


def find_leaks() -> str:
    """What kmemleak believes lost; empty if nothing. An object younger than five seconds is none
    yet, and one whose only reference was in a register at the time is believed lost once, but not
    by the next scan."""
    for _ in range(3):
        _KMEMLEAK.write_text("scan")
        time.sleep(6)  # kmemleak's MSECS_MIN_AGE, which no file tells
        _KMEMLEAK.write_text("scan")
        found = _KMEMLEAK.read_text()
        if not found:
            return ""
        _KMEMLEAK.write_text("clear")
    return found
