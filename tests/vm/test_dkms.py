# SPDX-License-Identifier: Apache-2.0
"""The module as users install it: built by DKMS, and loaded by the kernel when the agent asks."""

import pytest
from endpoints import MODULE, NETFILTER, Endpoint
from guest import Guest
from kernel import kernel
from module import SOURCE
from process import run
from sandbox import Sandbox

# DKMS keeps its state, and the key it signs with, in /var/lib/dkms: here that is nobody else's.
BUILD = """
set -e
mount -t tmpfs none /var/lib/dkms
make -s -C {directory}/netfilter dkms-dist DESTDIR={directory}/installed
version=$(basename {directory}/installed/usr/src/{module}-*)
version=${{version#{module}-}}
set -- -m {module} -v "$version" --sourcetree {directory}/installed/usr/src
dkms add "$@"
dkms build "$@" -k {release} --kernelsourcedir {build}
cp /var/lib/dkms/{module}/"$version"/{release}/*/module/{module}.ko* {directory}/
"""


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as made:
        yield made


@pytest.fixture(scope="module")
def built(sandbox):
    stock, directory = kernel("stock"), sandbox.directory / "dkms"
    directory.mkdir()
    run(["cp", "-r", SOURCE, SOURCE.parent / "uapi", directory])
    run(["unshare", "--mount", "sh", "-c", BUILD.format(
        directory=directory, module=MODULE, release=stock.release, build=stock.build)],
        deadline_s=900)
    return next(directory.glob(f"{MODULE}.ko*"))


@pytest.fixture(scope="module")
def guest(sandbox, built):
    made = Guest(sandbox, "installed", kernel("stock")).wait_booted()
    updates = f"/lib/modules/{made.kernel.release}/updates/dkms"
    made.run(["mkdir", "-p", updates])
    made.run(["cp", built, updates])
    made.run(["depmod", made.kernel.release], deadline_s=300)
    yield made
    made.stop()


def is_loaded(guest: Guest) -> bool:
    return guest.run(["grep", "-q", f"^{MODULE} ", "/proc/modules"], check=False).returncode == 0


def test_asking_for_the_netlink_family_loads_it(guest):
    assert not is_loaded(guest)
    assert guest.call("redirect.info")["roles"] == 0
    assert is_loaded(guest)
    guest.run(["modprobe", "-r", MODULE])
    assert not is_loaded(guest)


def test_the_agent_takes_it_of_its_own_accord(guest):
    """--endpoint auto: nobody loaded anything."""
    content = {"services": [{"name": "web", "address": "10.0.0.100", "port": 80}]}
    endpoint = Endpoint(guest, NETFILTER, "client", content, chosen_by_agent=True)
    assert is_loaded(guest)
    assert guest.call("redirect.info")["n_services"] == 1
    assert "endpoint netfilter" in endpoint.agent.daemon.output()
    endpoint.remove()
    assert not is_loaded(guest)
