# SPDX-License-Identifier: Apache-2.0
"""Policies switched at run time under load, plugins among them: no SYN is lost, none uncounted."""

import concurrent.futures
import itertools
import pathlib
import sys

import pytest
from crab import VIRTUAL_PORT, Deployment, configuration, service, service_name
from load import run_short
from topology import FAMILIES, virtual_address

sys.path.append(str(pathlib.Path(__file__).parents[1] / "plugins"))
from plugin_build import (  # noqa: E402
    EXAMPLE, build_faulty, compile_plugin, header_flags, plugin_directory)

BUILT_IN = ["round_robin", "weighted_round_robin", "random", "join_shortest_queue", "power_of_two",
            "maglev"]
# A plugin, and each policy once more with its own parameters.
VARIANTS = [[name] for name in BUILT_IN] + [["least_open", "choices=2"], ["maglev", "table_size=131"]]
OTHER_PORT = 81
N_WORKERS = 2


@pytest.fixture(scope="module")
def crab(topology) -> Deployment:
    directory = topology.sandbox.directory
    folder = plugin_directory(directory)
    flags = header_flags(directory)
    compile_plugin(flags, EXAMPLE / "least_open.c", folder / "least_open.so")
    build_faulty(flags, folder, "wild", 'NAME="wild"', "PICK=7")
    build_faulty(flags, folder, "sick", 'NAME="sick"', "SICK")
    services = []
    for family in FAMILIES:
        services += [service(family, topology.backends),
                     service(family, topology.backends, name=f"other-{family}", port=OTHER_PORT)]
    content = configuration(topology, services, N_WORKERS) | {"policy_directory": str(folder)}
    return Deployment(topology, content)


def set_policy(crab, service: str, words: list[str]) -> None:
    crab.lb.ctl("policy", "set", service, *words)


def conserved(crab) -> bool:
    """Every packet that was received has met one end."""
    datapath = crab.lb.stats()["datapath"]
    return int(datapath["received_packets"]) == sum(int(v["packets"]) for v in datapath["verdicts"])


def test_every_policy_to_every_other_under_load(topology, crab, family):
    before = crab.lb.verdicts()
    n_done = 0
    stop = False

    def load() -> dict[str, int]:
        failures: dict[str, int] = {}
        nonlocal n_done
        while not stop:
            done = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 1000)
            failures |= done.failures
            n_done += sum(done.by_backend.values())
        return failures

    with concurrent.futures.ThreadPoolExecutor() as pool:
        loading = pool.submit(load)
        for one, other in itertools.permutations(VARIANTS, 2):
            set_policy(crab, service_name(family), one)
            set_policy(crab, service_name(family), other)
            assert conserved(crab)
        stop = True
        assert loading.result() == {}
    assert n_done >= 1000
    after = crab.lb.verdicts()
    changed = {name for name, n in after.items() if n != before[name]}
    assert changed <= {"redirected", "host", "other_host"}, "no SYN was refused or dropped"
    assert after["redirected"] - before["redirected"] >= n_done
    assert conserved(crab)


@pytest.mark.parametrize("words", VARIANTS, ids=lambda words: "_".join(words))
def test_each_policy_serves_all_backends(topology, crab, family, words):
    set_policy(crab, service_name(family), words)
    done = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 300)
    assert done.failures == {} and set(done.by_backend) == {"b1", "b2", "b3"}


def test_an_index_out_of_range_is_contained_and_counted(topology, crab, family):
    set_policy(crab, service_name(family), ["wild"])
    before = crab.lb.verdicts()
    refused = refused_packets(crab, family)
    wild = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 3)
    assert wild.by_backend == {} and sum(wild.failures.values()) == 3
    assert crab.lb.verdicts()["policy_range"] - before["policy_range"] >= 3
    assert refused_packets(crab, family) - refused >= 3
    # Others go on, and so does this one with a sound policy.
    other = run_short(topology.clients[0], virtual_address(family), OTHER_PORT, 30)
    assert (other.by_backend, other.failures) == ({"b1": 10, "b2": 10, "b3": 10}, {})
    set_policy(crab, service_name(family), ["weighted_round_robin"])
    again = run_short(topology.clients[0], virtual_address(family), VIRTUAL_PORT, 30)
    assert (again.by_backend, again.failures) == ({"b1": 10, "b2": 10, "b3": 10}, {})
    assert conserved(crab)


def refused_packets(crab, family: str) -> int:
    (stats,) = (s for s in crab.lb.stats()["services"] if s["service"] == service_name(family))
    return int(stats.get("refused_packets", 0))


def test_what_is_refused_is_listed_and_named(topology, crab, family):
    listed = crab.lb.ctl("policy", "list").stdout
    assert "fails its self-test: one is not two" in listed and "least_open" in listed
    done = crab.lb.ctl("policy", "set", service_name(family), "sick", check=False)
    assert done.returncode == 1
    assert "policy.name: the plugin for 'sick' was refused" in done.stderr
