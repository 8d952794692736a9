# SPDX-License-Identifier: Apache-2.0
"""A guest: a kernel in QEMU whose root is the host's, driven through a virtio-serial port.

It offers what tests/netns's Host offers (run, start, address), so that Crab's parts are put on it
in the same way. Its console is a log for humans and nothing reads it: whether something worked is
said on the control port (in_guest/control.py), and QEMU's end or silence there is a failure.
"""

import json
import pathlib
import signal
import socket
import subprocess
import threading

from kernel import HERE, Kernel, make_initramfs
from process import Command, CommandFailed, Daemon
from sandbox import Namespace, Sandbox
from topology import FAMILIES, address, with_length

# An orphan of a killed run ends by this, at the latest.
_LIFETIME_S = 3600
# Emulation is slow, the machine may be loaded, and the debug kernel is ten times slower still.
BOOT_DEADLINE_S = 600.0
COMMAND_DEADLINE_S = 240.0
# Beyond what a command may take: for the guest to kill it and say so.
_ANSWER_SLACK_S = 60.0

_KERNEL_ARGUMENTS = [
    "console=ttyS0", "loglevel=5",
    # The first defect ends the guest, and with it the test.
    "panic=-1", "oops=panic", "panic_on_warn=1",
    # Emulated CPUs stand still when the host is busy. That is no defect of the kernel.
    "nowatchdog", "rcupdate.rcu_cpu_stall_suppress=1", "tsc=reliable", "mitigations=off",
    "no_timer_check",
]


class GuestEnded(Exception):
    pass


class GuestProcess:
    """A process of a guest, with what Daemon uses of subprocess.Popen."""

    def __init__(self, guest: "Guest", pid: int):
        self._guest = guest
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._guest.request("poll", pid=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        if self.returncode is None:
            self.returncode = self._guest.request("wait", timeout, pid=self.pid,
                                                  deadline_s=timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("a command of the guest", timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        self._guest.request("send_signal", pid=self.pid, number=int(number))


class GuestDaemon(Daemon):
    """Its log is in the directory that guest and host share."""

    def __init__(self, guest: "Guest", name: str, command: Command, log: pathlib.Path, *,
                 notify: bool = False, environment: dict[str, str] | None = None):
        # Not Daemon's: that starts a process of this machine.
        self.name = name
        self.log = log
        self._notify = None
        self._guest = guest
        self.process = GuestProcess(guest, guest.request(
            "start", command=[str(word) for word in command], log=str(log),
            environment=environment or {}, notify=notify))

    def _notified(self) -> bool:
        return self._guest.request("is_ready", pid=self.pid)


class Guest:
    """Runs until stop() or the sandbox's end.

    Without a namespace it has no network; in one, whose bridge is br0, its eth0 is linked there.
    """

    def __init__(self, sandbox: Sandbox, name: str, kernel: Kernel, *,
                 namespace: Namespace | None = None, number: int = 0, n_cpus: int = 1,
                 memory_mib: int = 768, core: int | None = None,
                 counts_instructions: bool = False):
        """With a core, all of QEMU's threads stay on that one of this machine.

        With counts_instructions its clocks advance by a nanosecond with each instruction that it
        executes; when it is idle they jump to the next timer. A busy duration is a number of
        instructions. One CPU only, and commands have no deadline in the guest."""
        self.sandbox = sandbox
        self.host = name
        self.kernel = kernel
        self.number = number
        self._counts_instructions = counts_instructions
        # What crab-agent is told; the guest's own.
        self.cgroup = pathlib.Path("/sys/fs/cgroup")
        self.pin_directory = pathlib.Path("/sys/fs/bpf/crab")
        self.console = sandbox.directory / f"{name}-console.log"
        self._answers: dict[int, dict] = {}
        self._changed = threading.Condition()
        self._n_requests = 0
        self._ended = False
        self._namespace = namespace
        self._qemu: Daemon | None = None
        self._start_qemu(n_cpus, memory_mib, core)

    def _start_qemu(self, n_cpus: int, memory_mib: int, core: int | None) -> None:
        initramfs = self.sandbox.directory / f"{self.host}-initramfs"
        make_initramfs(self.kernel, initramfs)
        ours, theirs = socket.socketpair()
        arguments = [*_KERNEL_ARGUMENTS, f"crab_control={HERE}/in_guest/control.py",
                     f"crab_shared={self.sandbox.directory}"]
        if self.kernel.modules:
            arguments.append(f"crab_modules={self.kernel.modules}")
        emulation = ["-accel", "tcg,thread=multi"]
        if self._counts_instructions:
            emulation = ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off"]
        command = [
            *([] if core is None else ["taskset", "--cpu-list", core]),
            "timeout", "--kill-after=10", _LIFETIME_S,
            # q35's interrupt routing is a table; pc's is a program that takes the debug kernel too long.
            "qemu-system-x86_64", "-M", "q35", "-cpu", "max", *emulation, "-smp", n_cpus,
            "-m", memory_mib, "-nodefaults", "-display", "none", "-no-reboot",
            "-serial", f"file:{self.console}",
            "-kernel", self.kernel.image, "-initrd", initramfs, "-append", " ".join(arguments),
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=control,fd={theirs.fileno()}",
            "-device", "virtserialport,chardev=control,name=crab.control",
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-fsdev", f"local,id=shared,path={self.sandbox.directory},security_model=none,"
                      "multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared",
            *self._network()]
        inside = self._namespace.inside(command) if self._namespace else command
        log = self.sandbox.directory / f"{self.host}-qemu.log"
        self._qemu = Daemon(f"guest {self.host}", inside, log, pass_fds=[theirs.fileno()])
        self.sandbox.daemons.append(self._qemu)
        theirs.close()
        self._control = ours
        threading.Thread(target=self._receive, daemon=True).start()

    def _network(self) -> list[str]:
        if self._namespace is None:
            return []
        self._namespace.run(["ip", "tuntap", "add", self.host, "mode", "tap"])
        self._namespace.run(["ip", "link", "set", self.host, "master", "br0", "up"])
        # With mergeable buffers QEMU before 9.1 may wait for ever for a guest whose ring was full
        # (its commit f937309fbdbb, "virtio-net: Fix network stall at the host side waiting for kick").
        return ["-netdev", f"tap,id=eth0,ifname={self.host},script=no,downscript=no",
                "-device", f"virtio-net-pci,netdev=eth0,mac=02:00:00:00:00:{self.number:02x},"
                           "mrg_rxbuf=off,romfile="]

    def _receive(self) -> None:
        with self._control.makefile("rb") as lines:
            for line in lines:
                with self._changed:
                    answer = json.loads(line)
                    self._answers[answer["id"]] = answer
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _wait_answer(self, number: int, deadline_s: float) -> object:
        with self._changed:
            came = self._changed.wait_for(lambda: number in self._answers or self._ended,
                                          deadline_s)
            answer = self._answers.pop(number, None)
        if answer is None:
            why = "ended" if came else f"did not answer for {deadline_s:.0f} s"
            raise GuestEnded(f"guest {self.host} {why}; its console:\n{self.console_end()}")
        if "error" in answer:
            raise RuntimeError(f"guest {self.host}: {answer['error']}")
        return answer["result"]

    def console_end(self, n_lines: int = 60) -> str:
        if not self.console.exists():
            return self._qemu.output()
        lines = self.console.read_text(errors="replace").splitlines()
        return "\n".join(lines[-n_lines:]) + self._qemu.output()

    def request(self, do: str, wait_s: float = COMMAND_DEADLINE_S, **arguments: object):
        """The guest's answer to a request of in_guest/control.py. GuestEnded if there is none."""
        with self._changed:
            self._n_requests += 1
            number = self._n_requests
        line = json.dumps({"id": number, "do": do, **arguments})
        try:
            with self._changed:
                self._control.sendall(line.encode() + b"\n")
        except OSError:
            pass  # it has ended, as the answer that does not come will say
        return self._wait_answer(number, wait_s + _ANSWER_SLACK_S)

    def wait_booted(self) -> "Guest":
        """Returns when it takes requests and, if it has a network, has its addresses."""
        release = self._wait_answer(0, BOOT_DEADLINE_S)
        if release != self.kernel.release:
            raise RuntimeError(f"guest {self.host} runs {release}, not {self.kernel.release}")
        if self._namespace:
            self._configure_network()
        return self

    def _configure_network(self) -> None:
        self.run(["sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0",
                  "net.ipv6.conf.eth0.accept_dad=0", "net.ipv6.conf.eth0.accept_ra=0",
                  f"kernel.hostname={self.host}"])
        self.run(["ip", "-batch", "-"], input="\n".join([
            "link set lo up", "link set eth0 up",
            *(f"address add {with_length(family, self.number)} dev eth0" for family in FAMILIES)]))

    def address(self, family: str) -> str:
        return address(family, self.number)

    def run(self, command: Command, *, check: bool = True, deadline_s: float = COMMAND_DEADLINE_S,
            input: str | None = None,  # pylint: disable=redefined-builtin
            env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        """As process.run; `env` is added to the guest's own."""
        words = [str(word) for word in command]
        answer = self.request("run", deadline_s, command=words, standard_input=input,
                              environment=env or {},
                              deadline_s=None if self._counts_instructions else deadline_s)
        if answer["status"] is None:
            raise subprocess.TimeoutExpired(words, deadline_s, answer["stdout"], answer["stderr"])
        done = subprocess.CompletedProcess(words, answer["status"], answer["stdout"],
                                           answer["stderr"])
        if check and done.returncode != 0:
            raise CommandFailed(done)
        return done

    def start(self, name: str, command: Command, **options) -> GuestDaemon:
        """Starts in the background; ends with the guest."""
        log = self.sandbox.directory / f"{self.host}-{name}.log"
        return GuestDaemon(self, f"{name} in {self.host}", command, log, **options)

    def call(self, function: str, *arguments: object, deadline_s: float = COMMAND_DEADLINE_S,
             **named: object):
        """Calls MODULE.FUNCTION of in_guest/ in the guest's control program, and returns what it
        returns. Both must be JSON."""
        module, name = function.rsplit(".", 1)
        return self.request("call", deadline_s, module=module, function=name,
                            arguments=arguments, named=named)

    def kernel_log(self) -> list[str]:
        """The kernel's messages since the last time."""
        return self.request("kernel_log")

    @property
    def is_running(self) -> bool:
        return self._qemu.is_running

    def stop(self) -> None:
        """Ends QEMU."""
        self._qemu.stop(signal.SIGKILL, check=False)
        self._control.close()
