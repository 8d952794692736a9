# SPDX-License-Identifier: Apache-2.0
"""What a kernel says when it has found a defect in itself."""

import re

from guest import Guest

# Most of these end the guest at once (panic_on_warn); lockdep's and kmemleak's do not.
_REPORTS = re.compile(r"WARNING:|BUG:|INFO: (possible|suspicious|trying|inconsistent|task)|KASAN|"
                      r"UBSAN|Oops|general protection|unreferenced object|refcount_t|"
                      r"kmemleak: \d+ new|Call Trace|possible .* detected|"
                      r"unregister_netdevice: waiting")
# The bits of /proc/sys/kernel/tainted that speak of a defect: bad page, died, warning, lockup.
_TAINTED = 1 << 5 | 1 << 7 | 1 << 9 | 1 << 14


def check_kernel(guest: Guest) -> None:
    """Raises AssertionError if the guest's kernel has found a defect since the last time."""
    lines = guest.kernel_log()
    found = [line for line in lines if _REPORTS.search(line)]
    assert not found, f"the kernel of {guest.host} reports:\n" + "\n".join(lines[-200:])
    tainted = int(guest.call("kernel_files.read", "/proc/sys/kernel/tainted"))
    assert not tainted & _TAINTED, f"the kernel of {guest.host} is tainted: {tainted:#x}"


def check_watchers(guest: Guest) -> None:
    """As check_kernel, for the debug kernel: lockdep still watches, and nothing leaked."""
    check_kernel(guest)
    stats = guest.call("kernel_files.read", "/proc/lockdep_stats")
    # It turns itself off when it has reported something, or run out of room.
    assert re.search(r"debug_locks:\s+1\n", stats), stats
    leaks = guest.call("kernel_files.find_leaks", deadline_s=600)
    assert not leaks, leaks
