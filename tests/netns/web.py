# SPDX-License-Identifier: Apache-2.0
"""nginx as a backend: says who it is, serves big and slow files, counts what it accepted."""

import hashlib
import os
import pathlib
import re

from process import Daemon
from sandbox import Sandbox
from topology import Host, in_url

PORT = 8080
STATUS_PORT = 8099

_CONFIGURATION = """\
daemon off;
user root;
worker_processes 1;
pid {directory}/{id}-nginx.pid;
error_log stderr warn;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  keepalive_requests 100000000;
  client_body_temp_path {directory}/{id}-body;
  proxy_temp_path {directory}/{id}-proxy;
  fastcgi_temp_path {directory}/{id}-fastcgi;
  uwsgi_temp_path {directory}/{id}-uwsgi;
  scgi_temp_path {directory}/{id}-scgi;
  default_type application/octet-stream;
  server {{
    {listen}
    root {directory}/files;
    location = / {{ return 200 "{id}\\n"; }}
    location /slow/ {{ alias {directory}/files/; limit_rate {slow_bytes_per_second}; }}
  }}
  server {{
    listen 127.0.0.1:{status_port};
    location = /status {{ stub_status; }}
  }}
}}
"""


def make_file(sandbox: Sandbox, name: str, n_bytes: int) -> str:
    """A file of random bytes that every backend of the sandbox serves; returns its SHA-256."""
    directory = sandbox.directory / "files"
    directory.mkdir(exist_ok=True)
    content = os.urandom(n_bytes)
    (directory / name).write_bytes(content)
    return hashlib.sha256(content).hexdigest()


class WebServer:
    """nginx on a host; GET / answers with the host's name. Runs until the sandbox ends."""

    def __init__(self, host: Host, ports: tuple[int, ...] = (PORT,),
                 slow_bytes_per_second: int = 1 << 20):
        self.host = host
        self.id = host.host
        self._n_asked = 0
        directory = host.sandbox.directory
        (directory / "files").mkdir(exist_ok=True)
        path = pathlib.Path(directory / f"{self.id}-nginx.conf")
        path.write_text(_CONFIGURATION.format(
            directory=directory, id=self.id, status_port=STATUS_PORT,
            slow_bytes_per_second=slow_bytes_per_second,
            listen=" ".join(f"listen {port} backlog=4096; listen [::]:{port} backlog=4096;"
                            for port in ports)))
        self.daemon: Daemon = host.start("nginx", ["nginx", "-e", "stderr", "-c", path])
        self.daemon.wait_ready(self._status)

    def _status(self) -> str | None:
        """None while it does not answer."""
        done = self.host.run(["curl", "-sS", f"http://127.0.0.1:{STATUS_PORT}/status"], check=False)
        if done.returncode != 0:
            return None
        self._n_asked += 1
        return done.stdout

    def n_accepted(self) -> int:
        """Connections accepted since its start, those that ask for this number excepted."""
        accepted = re.search(r"requests\s+(\d+)", self._status() or "")
        if accepted is None:
            raise RuntimeError(f"{self.daemon.name} does not answer:\n{self.daemon.output()}")
        return int(accepted[1]) - self._n_asked

    def url(self, family: str, path: str = "/", port: int = PORT) -> str:
        return f"http://{in_url(self.host.address(family))}:{port}{path}"
