# SPDX-License-Identifier: Apache-2.0
"""`./dev demo`: real clients and servers on a real crab-lb, on this machine, in two minutes.

    demo.py            shows it and removes everything
    demo.py --keep     leaves it running, and says how to look around
    demo.py --run HOST COMMAND...
                       runs a command on a host (c1, lb, b1, ...) of what --keep left
    demo.py --stop     removes what --keep left
"""

import argparse
import hashlib
import os
import pathlib
import re
import statistics
import sys
from collections.abc import Callable

import sandbox
from capture import Capture
from crab import VIRTUAL_PORT, Deployment, control_socket, program, service_name
from load import run_short
from process import CommandFailed, wait_until
from topology import FAMILIES, Host, Topology, create_topology, in_url, virtual_address
from web import make_file

N_CONNECTIONS = 3000
BIG_BYTES = 100_000_000
SLOW_BYTES = 24_000_000
SLOW_BYTES_PER_SECOND = 8_000_000

PICTURE = """
  c1, c2    crab-lb     b1, b2, b3      clients, the appliance and nginx, each in a network
  curl,wrk  10.0.0.2     nginx          namespace of its own, on one link
    |          |           |
  --+----------+-----------+--          the service is 10.0.0.100:80 and [fd00:c4ab::100]:80
"""


def heading(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}\n{'-' * len(text)}")


def line(label: str, value: object, note: str = "") -> None:
    shown = f"{value:,}" if isinstance(value, int) else str(value)
    print(f"  {label:<46}{shown:>12}  {note}".rstrip())


def url(family: str, path: str = "/") -> str:
    return f"http://{in_url(virtual_address(family))}{path}"


def show_curl(topology: Topology) -> None:
    heading("curl, through the appliance")
    for family in FAMILIES:
        answers = [topology.clients[0].run(["curl", "-sS", url(family)]).stdout.strip()
                   for _ in range(4)]
        print(f"  c1$ curl {url(family):<28} four times: {' '.join(answers)}")


def show_split(topology: Topology, crab: Deployment) -> None:
    """Counted by those who have no interest: nginx, and tcpdump on the appliance's link."""
    heading(f"{N_CONNECTIONS:,} short connections from each client, round robin")
    before = {server.id: server.n_accepted() for server in crab.servers}
    with Capture(topology.appliance, "lb0") as capture:
        for client, family in zip(topology.clients, FAMILIES):
            tally = run_short(client, virtual_address(family), VIRTUAL_PORT, N_CONNECTIONS)
            if tally.failures:
                raise RuntimeError(f"connections failed: {tally.failures}")
    for server in crab.servers:
        line(f"connections accepted by nginx on {server.id}",
             server.n_accepted() - before[server.id])
    n_syns = sum(segment.is_syn for segment in capture.segments)
    n_connections = len({(s.source, s.source_port, s.sequence) for s in capture.segments})
    line("SYNs that tcpdump saw reach the appliance", n_syns)
    line("other packets of these connections there", len(capture.segments) - n_syns)
    line("packets per connection there", f"{len(capture.segments) / n_connections:.3f}")
    if n_syns != len(capture.segments) or n_connections != 2 * N_CONNECTIONS:
        raise RuntimeError("the appliance should have seen each connection's SYN, and that only")


def show_download(topology: Topology, digest: str) -> None:
    heading("A download of 100 MB")
    client, path = topology.clients[0], topology.sandbox.directory / "received"
    with Capture(topology.appliance, "lb0") as capture:
        n_before = n_received(client)
        client.run(["curl", "-sS", "-o", path, url("ipv4", "/big")])
    check(path, digest)
    line("SHA-256", "correct")
    line("packets that reached the client", n_received(client) - n_before)
    line("packets that reached the appliance", len(capture.segments),
         "the SYN" if [s.is_syn for s in capture.segments] == [True] else "not just the SYN!")
    if len(capture.segments) != 1:
        raise RuntimeError("the appliance saw more than the SYN of a download")


def n_received(client: Host) -> int:
    text = client.run(["ip", "-s", "-o", "link", "show", "eth0"]).stdout
    return int(re.search(r"RX:.*?\\\s+\d+\s+(\d+)", text)[1])


def check(path: pathlib.Path, digest: str) -> None:
    if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
        raise RuntimeError(f"{path} did not arrive whole")


def show_latency(topology: Topology, crab: Deployment) -> None:
    """Direct and through Crab in turn, so that what else the machine does meets both."""
    targets = {"through Crab": url("ipv4"), "direct to a backend": crab.servers[0].url("ipv4")}
    heading("Latency of a request on an open connection (wrk, one connection)")
    compare(targets, lambda target: request_us(topology.clients[1], target))
    heading("Latency of a connect, which waits for the appliance (curl, 100 connections)")
    compare(targets, lambda target: connect_us(topology.clients[1], target))


def compare(targets: dict[str, str], measure: Callable[[str], float]) -> None:
    medians = {name: [] for name in targets}
    for _ in range(3):
        for name, target in targets.items():
            medians[name].append(measure(target))
    middle = {name: statistics.median(values) for name, values in medians.items()}
    for name, values in medians.items():
        line(f"median, {name}", f"{middle[name]:.0f} us",
             "three runs: " + ", ".join(f"{value:.0f}" for value in values))
    through, direct = middle.values()
    line("ratio", f"{through / direct:.2f}")


def request_us(client: Host, target: str) -> float:
    text = client.run(["wrk", "-t1", "-c1", "-d2s", "--latency", target]).stdout
    value, unit = re.search(r"50%\s+([\d.]+)(us|ms|s)", text).groups()
    return float(value) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def connect_us(client: Host, target: str) -> float:
    text = client.run(["curl", "-sS", "-o", "/dev/null", "-H", "Connection: close",
                       "-w", "%{time_connect}\n", f"{target}?[1-100]"]).stdout
    return statistics.median(float(seconds) for seconds in text.split()) * 1e6


def show_kill(topology: Topology, crab: Deployment, digest: str) -> None:
    heading("kill -9 of crab-lb in the middle of a download")
    client, path = topology.clients[0], topology.sandbox.directory / "slow"
    curl = client.start("curl", ["curl", "-sS", "-o", path, url("ipv4", "/slow/slow")])
    n_arrived = wait_until(lambda: path.exists() and path.stat().st_size, "the download's start")
    crab.lb.daemon.kill()
    line("bytes that had arrived when crab-lb was killed", n_arrived)
    if curl.wait() != 0:
        raise RuntimeError(f"the download failed:\n{curl.output()}")
    check(path, digest)
    line("bytes of the whole download", path.stat().st_size, "SHA-256 correct, same connection")
    crab.lb.start()
    answer = client.run(["curl", "-sS", url("ipv4")]).stdout.strip()
    line("crab-lb started again; curl is answered by", answer)


def show_crabctl(crab: Deployment) -> None:
    heading("crabctl, the operator's view")
    for words in (["service", "list"], ["backend", "list", service_name("ipv4")], ["stats"]):
        print(f"  lb$ crabctl {' '.join(words)}")
        print("\n".join("    " + text for text in crab.lb.ctl(*words).stdout.splitlines()))


def show_next(topology: Topology, is_kept: bool) -> None:
    heading("What next")
    if is_kept:
        print(f"""  It is still running:
    ./dev demo --run c1 curl {url('ipv4')}
    ./dev demo --run lb tcpdump -ni lb0 tcp
    ./dev demo --run lb crabctl stats
    ls {topology.sandbox.directory}    (configuration, logs)
    ./dev demo --stop""")
    else:
        print("  ./dev demo --keep     leave it running, and look around")
    print("""  ./dev test            all tests
  ./dev bench           what a SYN costs
  docs/architecture.md  how it works; README.md how to run it on real machines""")


def kept() -> list[str]:
    """The latest last."""
    names = [name for name in sandbox.names() if sandbox.is_kept(name)]
    return sorted(names, key=lambda name: (sandbox.ROOT / name / "keep").stat().st_mtime)


def stop_kept() -> None:
    for name in kept():
        sandbox.remove(name)
        print(f"removed {name}")


def run_on_kept(host: str, command: list[str]) -> None:
    """Replaces this process."""
    if not kept():
        raise SystemExit("no demo is running: ./dev demo --keep starts one")
    name = kept()[-1]
    os.environ["PATH"] = f"{program('crabctl').parent}:{os.environ['PATH']}"
    os.environ["CRAB_SERVER"] = control_socket(sandbox.ROOT / name)
    words = sandbox.inside(name, host, command)
    os.execvp(words[0], words)


def show(is_kept: bool) -> None:
    with create_topology() as topology:
        try:
            heading("Crab: the appliance sees a connection's SYN, and nothing else of it")
            print(PICTURE.strip("\n"))
            digest = make_file(topology.sandbox, "big", BIG_BYTES)
            slow_digest = make_file(topology.sandbox, "slow", SLOW_BYTES)
            crab = Deployment(topology, slow_bytes_per_second=SLOW_BYTES_PER_SECOND)
            show_curl(topology)
            show_split(topology, crab)
            show_download(topology, digest)
            show_latency(topology, crab)
            show_crabctl(crab)
            show_kill(topology, crab, slow_digest)
            if is_kept:
                topology.sandbox.keep()
            show_next(topology, is_kept)
        except (CommandFailed, RuntimeError, TimeoutError) as error:
            raise SystemExit(f"\ndemo failed: {error}\n{topology.sandbox.logs(n_lines=15)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev demo", description=__doc__.splitlines()[0])
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--keep", action="store_true", help="leave it running")
    choice.add_argument("--stop", action="store_true", help="end what --keep left running")
    choice.add_argument("--run", nargs=argparse.REMAINDER, metavar=("HOST", "COMMAND"),
                        help="run a command on a host of what --keep left")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)
    if arguments.stop:
        stop_kept()
    elif arguments.run is not None:
        if len(arguments.run) < 2:
            parser.error("--run needs a host and a command")
        run_on_kept(arguments.run[0], arguments.run[1:])
    else:
        show(arguments.keep)


main()
