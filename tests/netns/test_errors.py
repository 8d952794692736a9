# SPDX-License-Identifier: Apache-2.0
"""What is wrong is said once, in one clear line, and has no effect."""

import copy
import os
import re
from collections.abc import Callable

import pytest
import yaml
from crab import VIRTUAL_PORT, CrabLb, configuration, program, service_name
from process import run, wait_until
from topology import (APPLIANCE_NUMBER, FAMILIES, VIRTUAL_NUMBER, address, create_topology, in_url,
                      virtual_address)
from web import PORT


@pytest.fixture(scope="module")
def topology():
    with create_topology(n_clients=1, n_backends=2) as made:
        yield made


def unknown_field(c: dict) -> None:
    c["dataplane"]["worker"] = [0]


def missing_field(c: dict) -> None:
    del c["services"][0]["backends"][1]["address"]


def duplicate_service(c: dict) -> None:
    c["services"].append(c["services"][0] | {"name": "again"})


def duplicate_backend(c: dict) -> None:
    c["services"][0]["backends"][1]["address"] = c["services"][0]["backends"][0]["address"]


def unknown_policy(c: dict) -> None:
    c["services"][0]["policy"]["name"] = "round_robbin"


def mixed_families(c: dict) -> None:
    c["services"][0]["backends"][1]["address"] = address("ipv6", 12)


# What is wrong, and what the one line says after FILE:LINE.
IN_THE_FILE = [
    (unknown_field, r"dataplane\.worker: .*"),
    (missing_field, r"services\[0\]\.backends\[1\]\.address: .*"),
    (duplicate_service, r"services\[2\]\.address: .*'web-ipv4' already"),
    (duplicate_backend, r"services\[0\]\.backends\[1\]\.address: .*backends\[0\].*"),
    (unknown_policy, r"services\[0\]\.policy\.name: .*'round_robbin'.*round_robin.*"),
    (mixed_families, r"services\[0\]\.backends\[1\]\.address: .*family.*"),
]


def absent_interface(c: dict) -> None:
    c["dataplane"]["ports"][0]["vdev"] = "net_af_packet0,iface=nosuch0"


def absent_cpu(c: dict) -> None:
    c["dataplane"]["workers"] = [os.cpu_count() + 7]


def absent_pci_device(c: dict) -> None:
    c["dataplane"]["ports"][0] = {"pci": "0000:fe:1f.7", "host_interface": "crab0"}


# What this machine lacks, and what the one line names.
ON_THE_MACHINE = [
    (absent_interface, "nosuch0"),
    (absent_cpu, f"{os.cpu_count() + 7}"),
    (absent_pci_device, "0000:fe:1f.7"),
]


def write(topology, content: str):
    path = topology.sandbox.directory / "wrong.yaml"
    path.write_text(content)
    return path


def edited(topology, edit: Callable[[dict], None]):
    content = copy.deepcopy(configuration(topology))
    edit(content)
    return write(topology, yaml.safe_dump(content, sort_keys=False))


def only_line(done) -> str:
    assert done.returncode == 1, done
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) == 1, lines
    return lines[0]


@pytest.mark.parametrize("edit,expected", IN_THE_FILE, ids=lambda v: getattr(v, "__name__", ""))
def test_an_error_in_the_file_names_line_and_field(topology, edit, expected):
    path = edited(topology, edit)
    for more in ([], ["--check-config"]):
        done = topology.appliance.run([program("crab-lb"), "--config", path, *more], check=False)
        assert re.fullmatch(rf"{path}:\d+: {expected}", only_line(done))


def test_what_is_not_yaml_is_said_to_be_so(topology):
    path = write(topology, "node: 1\nservices: [ { name: web\n")
    done = topology.appliance.run([program("crab-lb"), "--config", path], check=False)
    assert re.fullmatch(rf"{path}:\d+: not valid YAML: .*", only_line(done))


def test_a_file_that_does_not_exist(topology):
    path = topology.sandbox.directory / "absent.yaml"
    done = topology.appliance.run([program("crab-lb"), "--config", path], check=False)
    assert only_line(done) == f"{path}: cannot be read: No such file or directory"


@pytest.mark.parametrize("edit,expected", ON_THE_MACHINE, ids=lambda v: getattr(v, "__name__", ""))
def test_what_the_machine_lacks_ends_the_start(topology, edit, expected):
    path = edited(topology, edit)
    run([program("crab-lb"), "--config", path, "--check-config"])
    done = topology.appliance.run([program("crab-lb"), "--config", path], check=False)
    assert expected in only_line(done)
    assert_nothing_left(topology)


def test_missing_privileges_are_named(topology):
    path = edited(topology, lambda content: None)
    os.chmod(path, 0o644)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    done = topology.appliance.run([*nobody, program("crab-lb"), "--config", path], check=False)
    assert re.search(r"root|CAP_|ermission|privilege", only_line(done))
    assert_nothing_left(topology)


def assert_nothing_left(topology) -> None:
    assert "crab0" not in topology.appliance.run(["ip", "-o", "link"]).stdout
    assert topology.appliance.run(["nft", "list", "ruleset"]).stdout == ""


@pytest.fixture(scope="module")
def lb(topology) -> CrabLb:
    return CrabLb(topology, configuration(topology)).start()


def endpoint(name: str, where: str, port: int = PORT) -> str:
    """A backend as crabctl takes it."""
    return f"{name}={in_url(where)}:{port}"


def test_an_unreachable_backend_is_shown_with_the_reason(topology, lb, family):
    nowhere = {"ipv4": "192.0.2.1", "ipv6": "2001:db8::1"}[family]
    lb.ctl("backend", "register", service_name(family), endpoint("silent", address(family, 77)),
           endpoint("routeless", nowhere))
    unanswered = {"ipv4": "no ARP answer", "ipv6": "no neighbour advertisement"}[family]
    for name, reason in (("silent", unanswered), ("routeless", "no route")):
        status = wait_until(lambda name=name, reason=reason: shown(lb, family, name, reason),
                            f"the reason why {name} is not eligible")
        assert not status["state"].endswith("_HEALTHY")
    services = {s["service"]: s for s in lb.stats()["services"]}[service_name(family)]
    assert (services["backends"], services["eligible_backends"]) == (4, 2)
    lb.ctl("backend", "deregister", service_name(family), "silent", "routeless", "--drain", "0")


def shown(lb: CrabLb, family: str, backend: str, reason: str) -> dict | None:
    status = lb.backends(family)[backend]["status"]
    return status if reason in status.get("reason", "") else None


def state(lb: CrabLb) -> list[str]:
    """All that a refused request could have changed."""
    lists = [["backend", "list", service_name(family)] for family in FAMILIES]
    return [lb.ctl(*words, "-o", "json").stdout for words in (["service", "list"], *lists)]


# A batch in which something is wrong, and the field path and reason of the refusal.
REFUSED_BATCHES = [
    ([("n1", 31), ("b1", 32), ("n1", 33)], r"backends\[2\]\.id"),
    ([("n1", 31), ("n2", 31)], r"backends\[1\]\.address"),
    ([("n1", 31), ("n2", 11)], r"backends\[1\]\.address"),
    ([("n1", 31), ("n2", APPLIANCE_NUMBER)], r"backends\[1\]\.address: .*node itself"),
    ([("n1", 31), ("n2", VIRTUAL_NUMBER)], r"backends\[1\]\.address: .*virtual address"),
]


@pytest.mark.parametrize("batch,expected", REFUSED_BATCHES)
def test_a_refused_batch_changes_nothing(topology, lb, family, batch, expected):
    before = state(lb)
    words = [endpoint(name, address(family, number)) for name, number in batch]
    refusal = only_line(lb.ctl("backend", "register", service_name(family), *words, check=False))
    assert re.search(rf"INVALID_ARGUMENT.*{expected}", refusal) or \
        re.search(rf"(ALREADY_EXISTS|FAILED_PRECONDITION).*{expected}", refusal), refusal
    assert state(lb) == before


def test_refused_values_name_the_field(topology, lb, family):
    before = state(lb)
    other = {"ipv4": "ipv6", "ipv6": "ipv4"}[family]
    for words, expected in (
            ([endpoint("n1", address(other, 31))], r"backends\[0\]\.address: .*family"),
            ([endpoint("n1", address(family, 31), 0)], r"backends\[0\]\.port: "),
            ([endpoint("n/1", address(family, 31))], r"backends\[0\]\.id: ")):
        done = lb.ctl("backend", "register", service_name(family), *words, check=False)
        assert re.search(rf"INVALID_ARGUMENT.*{expected}", only_line(done))
    assert state(lb) == before


def test_a_service_that_collides_or_is_absent(topology, lb, family):
    before = state(lb)
    done = lb.ctl("service", "create", "again", "--address", virtual_address(family), "--port",
                  VIRTUAL_PORT, check=False)
    assert re.search(rf"service\.address: .*'{service_name(family)}'", only_line(done))
    done = lb.ctl("backend", "register", "absent", endpoint("n1", address(family, 31)), check=False)
    assert "NOT_FOUND" in only_line(done)
    done = lb.ctl("service", "delete", service_name(family), check=False)
    assert re.search("FAILED_PRECONDITION.*configuration file", only_line(done))
    assert state(lb) == before


def test_crabctl_without_a_crab_lb_says_so(topology):
    done = topology.appliance.run([program("crabctl"), "--server", "unix:/nonexistent/socket",
                                   "stats"], check=False)
    assert done.returncode == 3 and len(done.stderr.splitlines()) == 1
    assert "/nonexistent/socket" in done.stderr
