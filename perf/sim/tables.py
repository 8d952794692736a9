#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""crab-sim's tables for docs/benchmarks/latency.md: CSV files, and a plot of each.

CRAB_BUILD names the build directory, a release. --plot-only draws the files that are there, and
paper.csv of perf/e2e/paper/run.py if it is among them.
"""

import argparse
import csv
import os
import pathlib
import subprocess

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"random": "#999999", "round_robin": "#d95f02", "power_of_two": "#1b9e77",
           "power_of_two:d=4": "#1b9e77", "join_shortest_queue": "#3a5fcd"}
LABELS = {"random": "random", "round_robin": "round robin", "power_of_two": "power of two",
          "power_of_two:d=4": "power of four", "join_shortest_queue": "JSQ"}
PERCENTILES = (("p50_ms", ":"), ("p99_ms", "-"), ("p999_ms", "--"))
SWEEPS = {
    "load": ["--services", "deterministic", "exponential", "bimodal", "pareto",
             "--loads", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9", "0.95"],
    "interval": ["--services", "deterministic", "exponential", "--reports", "periodic",
                 "--policies", "round_robin", "power_of_two", "join_shortest_queue",
                 "--loads", "0.8", "--intervals", "0.1", "0.3", "1", "3", "10", "30", "100", "300",
                 "1000"],
}


def read(path: pathlib.Path) -> list[dict]:
    """Numbers as numbers."""
    def convert(text: str):
        try:
            return float(text)
        except ValueError:
            return text
    with open(path, newline="") as file:
        return [{key: convert(text) for key, text in row.items()} for row in csv.DictReader(file)]


def distinct(rows: list[dict], column: str) -> list:
    return list(dict.fromkeys(row[column] for row in rows))


def save(figure, path: pathlib.Path) -> None:
    figure.tight_layout()
    # Neither the date nor random identifiers: the same figures make the same file.
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(path)


def plot_by_service(rows: list[dict], x: str, title: str, path: pathlib.Path, *,
                    log_x: bool = False) -> None:
    """A panel for each distribution, p50, p99 and p99.9 of each policy over x."""
    services = distinct(rows, "service")
    figure, axes = plt.subplots(1, len(services), figsize=(3.4 * len(services), 3.4), sharey=True,
                                squeeze=False)
    for axis, service in zip(axes[0], services):
        for policy in distinct(rows, "policy"):
            line = [r for r in rows if (r["service"], r["policy"]) == (service, policy)]
            for column, style in PERCENTILES:
                axis.plot([r[x] for r in line], [r[column] for r in line], style,
                          color=COLOURS[policy], linewidth=1.2,
                          label=LABELS[policy] if column == "p99_ms" else None)
        axis.set_yscale("log")
        if log_x:
            axis.set_xscale("log")
        axis.set_title(service, fontsize=9)
        axis.set_xlabel(title, fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(True, which="major", linewidth=0.3)
    axes[0][0].set_ylabel("ms: p50 dotted, p99, p99.9 dashed", fontsize=8)
    axes[0][0].legend(fontsize=7)
    save(figure, path)


def plot_paper(rows: list[dict], path: pathlib.Path) -> None:
    """The experiment's p99 as dots, the prediction as lines."""
    services = distinct(rows, "service")
    figure, axes = plt.subplots(1, len(services), figsize=(4.4 * len(services), 3.6),
                                squeeze=False)
    for axis, service in zip(axes[0], services):
        for policy in distinct(rows, "policy"):
            line = [r for r in rows if (r["service"], r["policy"]) == (service, policy)]
            loads = [r["load"] for r in line]
            axis.plot(loads, [r["predicted_p99_ms"] for r in line], "-", color=COLOURS[policy],
                      linewidth=1.2, label=LABELS[policy])
            axis.plot(loads, [r["p99_ms"] for r in line], "o", color=COLOURS[policy], markersize=4)
        axis.set_yscale("log")
        axis.set_title(f"{service}, 20 ms", fontsize=9)
        axis.set_xlabel("offered load", fontsize=8)
        axis.set_ylabel("p99 ms: dots measured, lines predicted", fontsize=8)
        axis.tick_params(labelsize=7)
        axis.grid(True, which="major", linewidth=0.3)
    axes[0][0].legend(fontsize=7)
    save(figure, path)


def simulate(directory: pathlib.Path, effort: list[str]) -> None:
    program = pathlib.Path(os.environ["CRAB_BUILD"]) / "perf" / "crab-sim"
    for name, words in SWEEPS.items():
        with open(directory / f"{name}.csv", "w") as file:
            subprocess.run([program, "sweep", *words, *effort], check=True, stdout=file)
    for mode in ("thresholds", "studies"):
        done = subprocess.run([program, mode, *effort], check=False, capture_output=True, text=True)
        (directory / f"{mode}.txt").write_text(done.stdout)
        print(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True, help="a directory")
    parser.add_argument("--plot-only", action="store_true")
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--threads", default="1")
    options = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "crab"
    options.output.mkdir(parents=True, exist_ok=True)
    if not options.plot_only:
        simulate(options.output, ["--seeds", options.seeds, "--threads", options.threads])
    plot_by_service(read(options.output / "load.csv"), "load", "offered load",
                    options.output / "load.svg")
    plot_by_service(read(options.output / "interval.csv"), "interval_ms",
                    "ms between two reports", options.output / "interval.svg", log_x=True)
    paper = options.output / "paper.csv"
    if paper.exists():
        plot_paper(read(paper), options.output / "paper.svg")


if __name__ == "__main__":
    main()
