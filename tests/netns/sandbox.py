# SPDX-License-Identifier: Apache-2.0
"""What a run leaves outside its own memory, and the one way to remove it.

A sandbox owns a directory, a cgroup, a private bpffs and network namespaces, all named after it.
Every process it starts is in its cgroup, so that nothing outlives it: `remove(name)` needs only the
name, and serves the normal end, an exception, SIGTERM, and the remains of a run that was killed.
"""

import contextlib
import fcntl
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import threading

from process import Command, Daemon, run, wait_until

ROOT = pathlib.Path("/run/crab-sandbox")  # only root may write here, unlike /tmp
NETNS = pathlib.Path("/run/netns")


def cgroup2_root() -> pathlib.Path:
    """The cgroup v2 hierarchy, mounted where systemd's hybrid layout has it if it is nowhere."""
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        _, mount_point, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(mount_point)
    path = pathlib.Path("/sys/fs/cgroup/unified")
    path.mkdir(exist_ok=True)
    run(["mount", "-t", "cgroup2", "cgroup2", path])
    return path


def remove(name: str) -> None:
    """Removes all of a sandbox; what is already gone is no error."""
    group = cgroup2_root() / name
    if group.exists():
        (group / "cgroup.kill").write_text("1")
        events = group / "cgroup.events"
        wait_until(lambda: "populated 0" in events.read_text(), f"processes of {name} to end")
        for child in group.iterdir():
            if child.is_dir():
                child.rmdir()
        group.rmdir()
    for namespace in sorted(NETNS.glob(f"{name}-*")):
        run(["ip", "netns", "delete", namespace.name])
    directory = ROOT / name
    if os.path.ismount(directory / "bpf"):
        run(["umount", directory / "bpf"])
    shutil.rmtree(directory, ignore_errors=True)


def names() -> list[str]:
    return sorted(path.name for path in ROOT.glob("crab-*"))


def is_kept(name: str) -> bool:
    return (ROOT / name / "keep").exists()


def sweep() -> None:
    """Removes what runs left that were killed before they could: their lock is free."""
    for name in names():
        if is_kept(name):
            continue
        with contextlib.suppress(FileNotFoundError, BlockingIOError):
            with open(ROOT / name / "lock") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(name)


def inside(name: str, host: str, command: Command) -> list[str]:
    """The command as it runs on a host of a sandbox: in its network namespace and its cgroup.

    Not by `ip netns exec`: that hides bpffs and cgroupfs.
    """
    enter = 'echo $$ > "$1" && shift && exec nsenter "$@"'
    return ["sh", "-c", enter, "sh", f"{cgroup2_root() / name / host}/cgroup.procs",
            f"--net={NETNS}/{name}-{host}", "--", *map(str, command)]


class Namespace:
    """A network namespace with a cgroup and a directory of its own in the private bpffs."""

    def __init__(self, sandbox: "Sandbox", host: str):
        self.sandbox = sandbox
        self.host = host
        self.path = NETNS / f"{sandbox.name}-{host}"
        self.cgroup = sandbox.cgroup / host
        self.pin_directory = sandbox.directory / "bpf" / host
        self.cgroup.mkdir()
        self.pin_directory.mkdir()
        run(["ip", "netns", "add", self.path.name])
        self.run(["ip", "link", "set", "lo", "up"])

    def inside(self, command: Command) -> list[str]:
        return inside(self.sandbox.name, self.host, command)

    def run(self, command: Command, **options) -> subprocess.CompletedProcess:
        """Runs to the end; a failure shows what it printed. Options as of process.run."""
        return run(self.inside(command), **options)

    def start(self, name: str, command: Command, **options) -> Daemon:
        """Starts in the background; stopped with the sandbox. Options as of process.Daemon."""
        log = self.sandbox.directory / f"{self.host}-{name}.log"
        daemon = Daemon(f"{name} in {self.host}", self.inside(command), log, **options)
        self.sandbox.daemons.append(daemon)
        return daemon


class Sandbox:
    """Context manager. Use it from the main thread, so that SIGTERM unwinds it."""

    def __init__(self):
        self.name = f"crab-{secrets.token_hex(3)}"
        self.directory = ROOT / self.name
        self.cgroup = cgroup2_root() / self.name
        self.daemons: list[Daemon] = []
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "Sandbox":
        if os.geteuid() != 0:
            raise SystemExit("network namespaces need root: run this with sudo")
        ROOT.mkdir(mode=0o755, exist_ok=True)
        sweep()
        self._unwind_on_signals()
        # Under another name until it is locked, so that no sweep takes it for a dead run's.
        nascent = ROOT / f".{self.name}"
        nascent.mkdir()
        self._lock = open(nascent / "lock", "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        nascent.rename(self.directory)
        try:
            (self.directory / "bpf").mkdir()
            run(["mount", "-t", "bpf", "bpf", self.directory / "bpf"])
            self.cgroup.mkdir()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        try:
            if not is_kept(self.name):
                for daemon in reversed(self.daemons):
                    daemon.stop(check=False)
                remove(self.name)
        finally:
            self._lock.close()
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def keep(self) -> None:
        """Leaves everything running when this process ends, until `remove(name)`."""
        (self.directory / "keep").touch()

    def logs(self, n_lines: int = 40) -> str:
        """The ends of all logs, for a failure's report."""
        parts = []
        for log in sorted(self.directory.glob("*.log")):
            tail = log.read_text(errors="replace").splitlines()[-n_lines:]
            if tail:
                parts.append("\n".join([f"--- {log.name}", *tail]))
        return "\n".join(parts)

    def _unwind_on_signals(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return

        def unwind(number, _frame):
            raise SystemExit(128 + number)

        for number in (signal.SIGTERM, signal.SIGHUP):
            self._handlers[number] = signal.signal(number, unwind)
