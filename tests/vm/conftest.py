# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the vm tier. A guest's kernel that has found a defect fails the test that ran."""

import collections.abc
import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "netns"))
# For the constants of its netlink client. At the end: these go first.
sys.path.append(str(HERE / "in_guest"))

from defects import check_kernel  # noqa: E402
from guest import GuestEnded  # noqa: E402
from rack import Rack, create_rack  # noqa: E402
from subject import Subject  # noqa: E402
from topology import FAMILIES  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "module_only: means nothing for the patched kernel")
    config.addinivalue_line("markers", "debug_only: asks the debug kernel what it saw")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kernel = config.getoption("kernel")
    items[:] = [item for item in items
                if not (item.get_closest_marker("module_only") and kernel == "patched")
                and not (item.get_closest_marker("debug_only") and kernel != "debug")]
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        why = f"{', '.join(missing)} missing: ./dev setup installs what there is"
    elif os.geteuid() != 0:
        why = "guests need root for their network"
    else:
        return
    for item in items:
        item.add_marker(pytest.mark.skip(reason=why))


# Some of each package of .ci/packages.
NEEDED = ("qemu-system-x86_64", "cpio", "pahole", "flex", "bison", "bc", "modprobe", "dkms")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kernel", default="stock", choices=["stock", "debug", "patched"],
                     help="of the hostile cases' guests")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    # So that the kernel is in the case's name.
    if "subject" in metafunc.fixturenames:
        metafunc.parametrize("subject", [metafunc.config.getoption("kernel")], indirect=True,
                             scope="function")


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def rack() -> collections.abc.Iterator[Rack]:
    with create_rack() as made:
        yield made


@pytest.fixture(scope="session")
def subject_of_all(request: pytest.FixtureRequest, rack: Rack) -> Subject:
    return Subject(rack, request.config.getoption("kernel"))


@pytest.fixture
def subject(subject_of_all: Subject) -> Subject:
    """Configured anew for each test."""
    subject_of_all.configure()
    return subject_of_all


@pytest.fixture(autouse=True)
def kernels_found_nothing(request: pytest.FixtureRequest) -> collections.abc.Iterator[None]:
    yield
    if "rack" in request.fixturenames:
        for guest in request.getfixturevalue("rack").guests:
            check_kernel(guest)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = (yield).get_result()
    made = getattr(item, "funcargs", {}).get("rack")
    if report.failed and made is not None:
        report.sections.append(("logs", made.sandbox.logs()))
    if call.excinfo and call.excinfo.errisinstance(GuestEnded):
        # Nothing that comes after it can succeed, and each would wait for its deadline.
        item.session.shouldstop = str(call.excinfo.value).splitlines()[0]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    # `./dev test -k NAME` asks every file, and most have no test of that name.
    if session.config.option.keyword and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
