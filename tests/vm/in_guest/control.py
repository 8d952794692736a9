# SPDX-License-Identifier: Apache-2.0
"""The guest's side of the control port: what the host asks, it does and answers.

One JSON object in a line each way. A request has an `id`, which the answer repeats, and `do`, the
name of a method of Control; the other fields are its arguments. The answer has `result` or `error`.
Each request has a thread of its own, so that none waits for another. Started by init.c.
"""

import glob
import importlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import traceback

PORT_NAME = "crab.control"


def open_port() -> int:
    """The virtio-serial port that the host named so."""
    for name in glob.glob("/sys/class/virtio-ports/*/name"):
        if pathlib.Path(name).read_text().strip() == PORT_NAME:
            return os.open(f"/dev/{pathlib.Path(name).parent.name}", os.O_RDWR)
    raise SystemExit(f"no virtio-serial port is called {PORT_NAME}")


class Background:
    """A process that start() started."""

    def __init__(self, process: subprocess.Popen, notify: socket.socket | None):
        self.process = process
        self.notify = notify

    def is_ready(self) -> bool:
        try:
            return b"READY=1" in self.notify.recv(4096, socket.MSG_DONTWAIT).split(b"\n")
        except BlockingIOError:
            return False


class Control:
    def __init__(self):
        self._port = open_port()
        self._sending = threading.Lock()
        self._background: dict[int, Background] = {}
        self._kernel_log = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)

    def serve(self) -> None:
        """Until the host says `end` or is gone."""
        self._send({"id": 0, "result": os.uname().release})
        with os.fdopen(self._port, "rb", closefd=False) as lines:
            for line in lines:
                request = json.loads(line)
                if request["do"] == "end":
                    return
                threading.Thread(target=self._answer, args=[request], daemon=True).start()

    def _send(self, answer: dict) -> None:
        left = memoryview(json.dumps(answer).encode() + b"\n")
        with self._sending:
            while left:
                left = left[os.write(self._port, left):]

    def _answer(self, request: dict) -> None:
        answer = {"id": request.pop("id")}
        try:
            answer["result"] = getattr(self, f"do_{request.pop('do')}")(**request)
        except Exception:  # whatever it is, the host must hear of it
            answer["error"] = traceback.format_exc()
        self._send(answer)

    def do_run(self, command: list[str], standard_input: str | None, environment: dict[str, str],
               deadline_s: float | None) -> dict:
        """Runs a command to its end. One that outlasts its deadline is killed, and all it started
        that stayed in its process group; its status is then None."""
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, env=os.environ | environment,
                                   start_new_session=True)
        given = (standard_input or "").encode()
        try:
            output, errors = process.communicate(given, deadline_s)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, errors = process.communicate()
            status = None
        return {"status": status, "stdout": output.decode(errors="replace"),
                "stderr": errors.decode(errors="replace")}

    def do_start(self, command: list[str], log: str, environment: dict[str, str],
                 notify: bool) -> int:
        """Starts a process in the background, its output to the end of a file; returns its pid."""
        channel = None
        if notify:
            channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            path = f"/run/notify-{len(self._background)}-{threading.get_ident()}"
            channel.bind(path)
            environment["NOTIFY_SOCKET"] = path
        with open(log, "ab") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL, env=os.environ | environment,
                                       start_new_session=True)
        self._background[process.pid] = Background(process, channel)
        return process.pid

    def do_poll(self, pid: int) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._background[pid].process.poll()

    def do_is_ready(self, pid: int) -> bool:
        return self._background[pid].is_ready()

    def do_wait(self, pid: int, deadline_s: float) -> int | None:
        try:
            return self._background[pid].process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            return None

    def do_send_signal(self, pid: int, number: int) -> None:
        self._background[pid].process.send_signal(number)

    def do_call(self, module: str, function: str, arguments: list, named: dict) -> object:
        """Calls a function of a module beside this one, in this process: no interpreter has to
        start, which takes a second under emulation."""
        return getattr(importlib.import_module(module), function)(*arguments, **named)

    def do_kernel_log(self) -> list[str]:
        """The kernel's messages since the last time."""
        lines = []
        while True:
            try:
                record = os.read(self._kernel_log, 8192).decode(errors="replace")
            except BlockingIOError:
                return lines
            except BrokenPipeError:
                lines.append("control: messages were overwritten before they were read")
                continue
            fields, text = record.split(";", 1)
            seconds = int(fields.split(",")[2]) / 1e6
            lines.append(f"[{seconds:12.6f}] " + re.split("\n", text, 1)[0])


sys.path.insert(0, str(pathlib.Path(__file__).parent))
Control().serve()
