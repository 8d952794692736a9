# SPDX-License-Identifier: Apache-2.0
"""The guests themselves: what the others rely on, and that a defect of a kernel fails a test."""

import subprocess

import pytest
from defects import check_kernel, check_watchers
from guest import Guest, GuestEnded
from kernel import kernel
from process import CommandFailed, wait_until
from sandbox import Sandbox


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox() as made:
        yield made


@pytest.fixture(scope="module")
def guest(sandbox):
    made = Guest(sandbox, "steady", kernel("stock"))
    yield made.wait_booted()
    made.stop()


def test_what_a_command_printed_and_its_status(guest):
    done = guest.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], input="given", check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "given", "wrong\n")
    with pytest.raises(CommandFailed, match="wrong"):
        guest.run(["sh", "-c", "echo wrong >&2; exit 3"])
    assert guest.run(["sh", "-c", "kill -9 $$"], check=False).returncode == -9
    assert guest.run(["printenv", "NAME"], env={"NAME": "value"}).stdout == "value\n"


def test_a_command_past_its_deadline_is_killed(guest):
    with pytest.raises(subprocess.TimeoutExpired):
        guest.run(["sh", "-c", "sleep 1000"], deadline_s=0.5)
    assert guest.run(["pgrep", "-x", "sleep"], check=False).returncode == 1


def test_large_output_is_whole(guest):
    done = guest.run(["seq", "300000"])
    assert done.stdout.count("\n") == 300_000 and done.stdout.endswith("\n300000\n")


def test_a_daemon_is_seen_and_ended(guest):
    daemon = guest.start("daemon", ["sh", "-c", "echo started; exec sleep 1000"])
    daemon.wait_ready(lambda: "started" in daemon.output())
    assert daemon.is_running
    assert daemon.stop(check=False) == -15
    assert not daemon.is_running
    failing = guest.start("failing", ["sh", "-c", "exit 7"])
    assert failing.wait() == 7
    with pytest.raises(RuntimeError, match="ended with 7"):
        failing.wait_ready(lambda: False)


def test_a_daemon_says_that_it_is_ready(guest):
    daemon = guest.start("notifying", ["/usr/bin/python3", "-B", "-c",
                                       "import os, socket, time\n"
                                       "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
                                       "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])\n"
                                       "time.sleep(1000)\n"], notify=True)
    daemon.wait_ready()
    daemon.stop(check=False)


def test_its_root_is_the_hosts_and_stays_as_it_is(guest, tmp_path):
    guest.run(["sh", "-c", f"echo guest > {tmp_path}/file; cat {tmp_path}/file"])
    assert not (tmp_path / "file").exists()
    (guest.sandbox.directory / "given").write_text("by the host\n")
    assert guest.run(["cat", guest.sandbox.directory / "given"]).stdout == "by the host\n"


def test_an_exception_of_the_guest_arrives(guest):
    with pytest.raises(RuntimeError, match="no-such-file"):
        guest.call("kernel_files.read", "/no-such-file")


@pytest.mark.parametrize("line", ["BUG: sleeping function called from invalid context",
                                  "WARNING: possible circular locking dependency detected",
                                  "BUG: KASAN: use-after-free in somewhere"])
def test_a_kernels_report_is_a_defect(guest, line):
    guest.kernel_log()
    guest.call("kernel_files.write", "/dev/kmsg", "an ordinary message\n")
    check_kernel(guest)
    guest.call("kernel_files.write", "/dev/kmsg", line + "\n")
    with pytest.raises(AssertionError, match="reports"):
        check_kernel(guest)
    check_kernel(guest)


def test_a_kernel_that_dies_is_noticed_at_once(sandbox):
    made = Guest(sandbox, "dying", kernel("stock")).wait_booted()
    with pytest.raises(GuestEnded, match="ended(.|\n)*sysrq"):
        made.call("kernel_files.write", "/proc/sysrq-trigger", "c")
    wait_until(lambda: not made.is_running, "QEMU to end")


def test_a_kernel_that_does_not_boot_is_noticed_at_once(sandbox):
    whole = kernel("stock")
    broken = Guest(sandbox, "broken", type(whole)(whole.name, whole.release, whole.image, None,
                                                  whole.build))
    with pytest.raises(GuestEnded, match="init: mount"):
        broken.wait_booted()


def test_the_debug_kernel_watches(sandbox):
    made = Guest(sandbox, "watching", kernel("debug"), memory_mib=1536).wait_booted()
    check_watchers(made)
    made.stop()
