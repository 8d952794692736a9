# SPDX-License-Identifier: Apache-2.0
"""Network namespaces of the guest, each entered by a thread of its own."""

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable, Sequence

import connections
import redirect

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000


def _inside(name: str, work: Callable[[], object]) -> object:
    """Does work in the namespace; what it returns or raises."""
    outcome: list[tuple[object, BaseException | None]] = []

    def enter_and_work() -> None:
        try:
            with open(f"/run/netns/{name}") as handle:
                if _libc.setns(handle.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns to {name}")
            outcome.append((work(), None))
        except BaseException as error:
            outcome.append((None, error))

    # The thread ends, and with it its hold on the namespace.
    thread = threading.Thread(target=enter_and_work)
    thread.start()
    thread.join()
    result, error = outcome[0]
    if error:
        raise error
    return result


def _ip(*words: str, given: Sequence[str] = ()) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, input="\n".join(given).encode())


def make_and_leave(services: list, prefixes: list, address: str, port: int, n: int) -> None:
    """n times: a namespace with a configuration, attempts to connect whose SYNs go nowhere, and
    then without its name and its sockets, which is its end."""
    bits, local = ("128", "fd00:77::1/64 nodad") if ":" in address else ("32", "10.77.0.1/24")
    for i in range(n):
        name = f"hostile{i}"
        _ip("netns", "add", name)
        _ip("-n", name, "-batch", "-", given=[
            "link add away type veth peer name further",
            "link set away up",
            "link set further up",
            f"address add {local} dev away",
            f"route add {address}/{bits} dev away",
            f"neigh add {address} lladdr 02:00:00:00:00:99 dev away"])

        def offer_to_nobody() -> list[int]:
            redirect.configure(3, services, prefixes)
            numbers = [connections.begin_connect(address, port) for _ in range(20)]
            pending = redirect.info()["n_pending"]
            if pending != 20:
                raise AssertionError(f"{pending} connections are pending, not 20")
            return numbers

        numbers = _inside(name, offer_to_nobody)
        # The last sockets, and the namespace with them, go after its name.
        _ip("netns", "delete", name)
        for number in numbers:
            connections.abort(number)


def info_of_new(services: list, roles: int) -> dict:
    """Roles and number of services of a new namespace, once it has been configured so."""
    name = f"apart-{os.getpid()}"
    _ip("netns", "add", name)

    def configure_and_look() -> dict:
        if roles:
            redirect.configure(roles, services)
        return redirect.info()

    info = _inside(name, configure_and_look)
    _ip("netns", "delete", name)
    return {"roles": info["roles"], "n_services": info["n_services"]}
