#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What the netfilter module costs an established connection, on Debian's kernel in QEMU guests.

    run.py instructions   guest instructions for a packet, with and without the module
    run.py throughput     iperf3 through Crab, paired with iperf3 to the backend itself

`instructions` needs no hardware counter and has no noise worth mentioning: QEMU advances the guest's
clock by one nanosecond with each instruction (-icount shift=0), so that clock_gettime() counts them. A byte
goes back and forth over an established loopback connection; a trip is two packets, and each passes both
hooks, LOCAL_OUT and LOCAL_IN, as it would at its sender and its receiver. Emulated instructions say
nothing about cache misses.

`throughput` takes turns, direct and through Crab, each pair in the other order than the last, and prints
the ratio of each pair, their median, and the median absolute deviation. Client and server have a core of
the machine each. Emulation is CPU-bound, so what extra instructions there were for a packet would show. Needs root and a build (CRAB_BUILD).
"""

import argparse
import json
import pathlib
import statistics
import sys

TESTS = pathlib.Path(__file__).resolve().parents[3] / "tests"
sys.path[:0] = [str(TESTS / "vm"), str(TESTS / "netns")]

from guest import Guest  # noqa: E402
from kernel import kernel  # noqa: E402
from module import build_module  # noqa: E402
from process import wait_until  # noqa: E402
from rack import SERVICES, Offered, create_rack, virtual_address  # noqa: E402
from sandbox import Sandbox  # noqa: E402
from subject import CLIENT, SERVER, Side, form  # noqa: E402
from topology import FAMILIES  # noqa: E402

IPERF_PORT = 5201
PACKETS_OF_A_TRIP = 2
# What many hosts have anyway, for comparison: base chains with no rule, at the module's two hooks.
NFT = ("add table inet chains; "
       "add chain inet chains out { type filter hook output priority 0; }; "
       "add chain inet chains in { type filter hook input priority 0; }")


def median_and_deviation(values: list[float]) -> tuple[float, float]:
    median = statistics.median(values)
    return median, statistics.median(abs(value - median) for value in values)


def instructions(options: argparse.Namespace) -> None:
    with Sandbox() as sandbox:
        guest = Guest(sandbox, "guest", kernel("stock"), counts_instructions=True).wait_booted()
        guest.run(["ip", "link", "set", "lo", "up"])
        side = Side(guest, build_module("stock", sandbox))
        services = [["10.0.0.100", 80, form("ipv4", False), []],
                    ["fd00:c4ab::100", 80, form("ipv6", False), []]]
        floor: dict[str, float] = {}
        print(f"{'':28}{'family':8}{'instructions a packet':>24}{'more than without':>20}")

        def measure(name: str) -> None:
            for family in FAMILIES:
                trips = guest.call("ping_pong.round_trip_ns", options.trips, options.rounds, family,
                                   deadline_s=3000)
                median, deviation = median_and_deviation(
                    [trip / PACKETS_OF_A_TRIP for trip in trips[1:]])
                more = median - floor.setdefault(family, median)
                print(f"{name:28}{family:8}{median:14,.1f} ± {deviation:<7.1f}{more:>20.1f}",
                      flush=True)

        measure("without the module")
        side.load()
        measure("module loaded, off")
        for name, roles in ("client", CLIENT), ("server", SERVER), ("both", CLIENT | SERVER):
            side.configure(roles, services)
            measure(f"module, role {name}")
        side.unload()
        measure("without the module again")
        guest.run(["nft", NFT])
        measure("two empty nftables chains")


def received_bits_per_second(guest: Guest, host: str, seconds: int) -> float:
    # A window that no queue on the way overflows with: recovery from loss is a matter of luck.
    done = guest.run(["iperf3", "-J", "-c", host, "-p", IPERF_PORT, "-t", seconds, "-w", "256K"],
                     deadline_s=60 + 10 * seconds)
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]


def throughput(options: argparse.Namespace) -> None:
    SERVICES.clear()
    SERVICES["iperf"] = Offered(IPERF_PORT, IPERF_PORT, listens=False)
    with create_rack() as rack:
        client, server = (rack.add_guest("c1", 21, "stock", core=0),
                          rack.add_guest("b1", 11, "stock", core=1))
        module = build_module("stock", rack.sandbox)
        rack.start_appliance([server])
        daemon = server.start("iperf3", ["iperf3", "-s", "--forceflush", "-p", IPERF_PORT])
        daemon.wait_ready(lambda: "listening" in daemon.output())
        sides = Side(client, module), Side(server, module)
        for side in sides:
            side.load()
        sides[0].configure(CLIENT, [[virtual_address(server, family), IPERF_PORT,
                                     form(family, False), []] for family in FAMILIES])
        sides[1].configure(SERVER)
        for family in FAMILIES:
            ratios = []
            for pair in range(options.pairs):
                hosts = [server.address(family), virtual_address(server, family)]
                rates = {}
                for host in hosts if pair % 2 else reversed(hosts):
                    before = sides[0].counters()["redirected"]
                    rates[host] = received_bits_per_second(client, host, options.seconds)
                    redirected = sides[0].counters()["redirected"] - before
                    # iperf3 opens a connection to talk and one to measure.
                    if redirected != (2 if host == hosts[1] else 0):
                        sys.exit(f"{redirected} connections to {host} were redirected")
                ratios.append(rates[hosts[1]] / rates[hosts[0]])
                print(f"{family} pair {pair + 1}: direct {rates[hosts[0]] / 1e6:,.0f} Mbit/s, "
                      f"through Crab {rates[hosts[1]] / 1e6:,.0f} Mbit/s, {ratios[-1]:.3f}",
                      flush=True)
            median, deviation = median_and_deviation(ratios)
            print(f"{family}: through Crab / direct, median of {len(ratios)} pairs: {median:.3f} "
                  f"± {deviation:.3f} (smallest {min(ratios):.3f}, largest {max(ratios):.3f})")
        wait_until(lambda: rack.lb.verdicts()["redirected"] >= 4 * options.pairs,
                   "the appliance to have counted them")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("instructions")
    command.set_defaults(do=instructions)
    command.add_argument("--trips", type=int, default=2000)
    command.add_argument("--rounds", type=int, default=11)
    command = commands.add_parser("throughput")
    command.set_defaults(do=throughput)
    command.add_argument("--pairs", type=int, default=31)
    command.add_argument("--seconds", type=int, default=1)
    options = parser.parse_args()
    options.do(options)


main()
