# SPDX-License-Identifier: Apache-2.0
"""Commands, daemons, and waiting for a condition with a deadline."""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence

Command = Sequence[object]

# Long enough for a loaded machine with two cores under a sanitizer: no test asserts a time, this
# only bounds how long a failure takes to show.
DEADLINE_S = 30.0


def wait_until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S):
    """Returns the condition's first true value; after the deadline raises TimeoutError."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"waited {deadline_s:.0f} s for {what}")
        time.sleep(0.01)


class CommandFailed(Exception):
    def __init__(self, done: subprocess.CompletedProcess):
        self.done = done
        words = done.args[done.args.index("--") + 1:] if "--" in done.args else done.args
        super().__init__(f"exit {done.returncode}: {' '.join(words)}\n{done.stdout}{done.stderr}")


def run(command: Command, *, check: bool = True, deadline_s: float = 2 * DEADLINE_S,
        **options) -> subprocess.CompletedProcess:
    """Runs to the end and captures text output. Raises CommandFailed unless check is False."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          stdin=None if "input" in options else subprocess.DEVNULL,
                          timeout=deadline_s, check=False, **options)
    if check and done.returncode != 0:
        raise CommandFailed(done)
    return done


class Daemon:
    """A process in the background, its output in a log file, out of reach of the terminal's Ctrl-C.

    With notify=True it gets a NOTIFY_SOCKET (sd_notify(3)), and wait_ready() waits for READY=1.
    """

    def __init__(self, name: str, command: Command, log: pathlib.Path, *, notify: bool = False,
                 environment: dict[str, str] | None = None, pass_fds: Sequence[int] = ()):
        self.name = name
        self.log = log
        variables = os.environ | (environment or {})
        self._notify: socket.socket | None = None
        if notify:
            path = log.with_suffix(".notify")
            path.unlink(missing_ok=True)
            self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._notify.bind(str(path))
            variables["NOTIFY_SOCKET"] = str(path)
        with open(log, "ab") as output:
            self.process = subprocess.Popen([str(word) for word in command], stdout=output,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                            env=variables, start_new_session=True,
                                            pass_fds=pass_fds)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_ready(self, condition: Callable[[], object] | None = None,
                   deadline_s: float = DEADLINE_S) -> "Daemon":
        """Waits for the condition, or else for READY=1; fails at once if the process ends."""
        def ready():
            if not self.is_running:
                raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n"
                                   f"{self.output()}")
            return condition() if condition else self._notified()

        try:
            wait_until(ready, f"{self.name} to become ready", deadline_s)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; its log:\n{self.output()}") from None
        return self

    def _notified(self) -> bool:
        try:
            return b"READY=1" in self._notify.recv(4096, socket.MSG_DONTWAIT).split(b"\n")
        except BlockingIOError:
            return False

    def send(self, number: int) -> None:
        """Sends a signal; one to a process that has ended is lost."""
        if self.is_running:
            self.process.send_signal(number)

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """The exit status, negative for a signal."""
        try:
            return self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"waited {deadline_s:.0f} s for {self.name} to end; its log:\n"
                               f"{self.output()}") from None

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self, number: int = signal.SIGTERM, *, check: bool = True) -> int:
        """Ends it and returns its exit status; what ignores the signal is killed. With check,
        anything but a clean end is an error that shows the log."""
        self.send(number)
        try:
            status = self.wait()
        except TimeoutError:
            self.kill()
            if check:
                raise
            return -signal.SIGKILL
        finally:
            if self._notify:
                self._notify.close()
        if check and status != 0:
            raise RuntimeError(f"{self.name} ended with {status}:\n{self.output()}")
        return status
