#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The files that the netfilter module and the kernel patch share are the same in both."""

import pathlib
import re
import unittest

KERNEL_PATCH = pathlib.Path(__file__).resolve().parents[3] / "kernel_patch"
SERIES = KERNEL_PATCH / "linux-6.1"
# `diff --git a/PATH b/PATH`, to the next file or the end of the patch
_FILE = re.compile(r"^diff --git a/(\S+) b/\S+\n(.*?)(?=^diff --git |^-- $|\Z)", re.M | re.S)


def files_added(patch: str) -> dict[str, str]:
    """Path: content, of the files that the patch adds."""
    added = {}
    for path, text in _FILE.findall(patch):
        head, _, hunk = text.partition("\n@@ -0,0 ")
        if "new file mode" in head and hunk:
            lines = hunk.splitlines()[1:]
            assert all(line.startswith("+") for line in lines), path
            added[path] = "".join(line[1:] + "\n" for line in lines)
    return added


def shared_files() -> list[tuple[str, str]]:
    lines = (SERIES / "shared_files").read_text(encoding="utf-8").splitlines()
    return [tuple(line.split()) for line in lines if line and not line.startswith("#")]


class SharedFiles(unittest.TestCase):
    def setUp(self) -> None:
        self.added = {}
        self.touched = set()
        for patch in sorted(SERIES.glob("*.patch")):
            text = patch.read_text(encoding="utf-8")
            added = files_added(text)
            self.assertFalse(self.added.keys() & added.keys(), patch)
            self.touched |= {path for path, _ in _FILE.findall(text)} - added.keys()
            self.added |= added

    def test_are_the_same(self) -> None:
        for ours, theirs in shared_files():
            with self.subTest(ours):
                self.assertIn(theirs, self.added)
                self.assertEqual((KERNEL_PATCH / ours).read_text(encoding="utf-8"),
                                 self.added[theirs],
                                 "run kernel_patch/linux-6.1/refresh")
                self.assertNotIn(theirs, self.touched, "a later patch changes it")

    def test_list_is_whole(self) -> None:
        """What the module says it shares is in the list, whatever the patch has of its own."""
        readme = (KERNEL_PATCH / "netfilter/README.md").read_text(encoding="utf-8")
        named = set()
        for stem, suffixes in re.findall(r"`(\w+)\.(\{c,h\}|h)`", readme.split("They find")[0]):
            named |= {f"netfilter/{stem}.{s}" for s in suffixes.strip("{}").split(",")}
        self.assertTrue(named)
        listed = {ours for ours, _ in shared_files() if ours.startswith("netfilter/")}
        self.assertEqual(named, listed)

    def test_counters_are_in_snmp(self) -> None:
        """The kernel's list has one item for each of ours, in their order."""
        header = (KERNEL_PATCH / "uapi/tcp_redirect_counters.h").read_text(encoding="utf-8")
        ours = [camel for _, camel in re.findall(r"^\tX\((\w+), (\w+), ", header, re.M)]
        series = "".join(p.read_text(encoding="utf-8") for p in sorted(SERIES.glob("*.patch")))
        theirs = re.findall(r"^\+\tLINUX_MIB_TCPREDIRECT(\w+),\s+/\* TCPRedirect(\w+) \*/",
                            series, re.M)
        self.assertEqual([(camel.upper(), camel) for camel in ours], theirs)


if __name__ == "__main__":
    unittest.main(verbosity=2)
