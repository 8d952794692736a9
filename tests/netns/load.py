# SPDX-License-Identifier: Apache-2.0
"""Load from a client's namespace, every connection accounted for."""

import json
import pathlib
import subprocess
import threading
from dataclasses import dataclass

from process import DEADLINE_S
from topology import Host

_PROGRAM = pathlib.Path(__file__).with_name("load_program.py")
_PYTHON = "/usr/bin/python3"


@dataclass(frozen=True)
class Tally:
    n_requests: int
    by_backend: dict[str, int]  # connections by the name of the backend that answered
    failures: dict[str, int]  # connections by what went wrong


def run_short(client: Host, address: str, port: int, n: int, *, concurrency: int = 64,
              source_port: int = 0) -> Tally:
    """n connections, a request each; from a source port one after the other."""
    done = client.run([_PYTHON, "-B", _PROGRAM, "short", address, port, n, concurrency,
                       source_port], deadline_s=180)
    return Tally(**json.loads(done.stdout))


class HeldConnections:
    """Established connections, each with a request under way; a context manager.

    When the with block begins all of them are open; finish() closes them and has the final tally.
    """

    def __init__(self, client: Host, address: str, port: int, n: int):
        self._command = client.inside([_PYTHON, "-B", _PROGRAM, "hold", address, port, n])
        self._n = n
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "HeldConnections":
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        opened = self._read()
        assert opened.failures == {} and sum(opened.by_backend.values()) == self._n, opened
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()

    def tally(self) -> Tally:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def finish(self) -> Tally:
        self._process.stdin.close()
        return self._read()

    def wait_for_requests(self, n: int) -> Tally:
        """Waits until every connection could have made progress: n requests more than now."""
        before = self.tally().n_requests
        for _ in range(1000):
            now = self.tally()
            if now.n_requests >= before + n or now.failures:
                return now
        raise TimeoutError(f"no {n} requests on {self._n} connections: {now}")

    def _read(self) -> Tally:
        watchdog = threading.Timer(2 * DEADLINE_S, self._process.kill)
        watchdog.start()
        line = self._process.stdout.readline()
        watchdog.cancel()
        if not line:
            raise RuntimeError(f"the load ended with {self._process.wait()}")
        return Tally(**json.loads(line))
