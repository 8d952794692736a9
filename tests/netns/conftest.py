# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the netns tier, and the logs of a failed test's daemons in its report."""

import collections.abc
import os

import pytest

from topology import FAMILIES, Topology, create_topology


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="network namespaces need root"))


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def topology() -> collections.abc.Iterator[Topology]:
    with create_topology() as made:
        yield made


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    report = (yield).get_result()
    made = getattr(item, "funcargs", {}).get("topology")
    if report.failed and made is not None:
        report.sections.append(("logs", made.sandbox.logs()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    # `./dev test -k NAME` asks every file, and most have no test of that name.
    if session.config.option.keyword and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
