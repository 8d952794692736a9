# SPDX-License-Identifier: Apache-2.0
"""The netfilter module, built for a guest's kernel."""

import os
import pathlib
import shutil

from kernel import HERE, kernel
from process import run
from sandbox import Sandbox

SOURCE = HERE.parent.parent / "kernel_patch" / "netfilter"


def build_module(kernel_name: str, sandbox: Sandbox) -> pathlib.Path:
    """Built in the sandbox, so that the sources stay as they are and runs do not collide."""
    directory = sandbox.directory / f"module-{kernel_name}"
    if not directory.exists():
        shutil.copytree(SOURCE, directory / "netfilter", symlinks=False)
        shutil.copytree(SOURCE.parent / "uapi", directory / "uapi")
        run(["make", "-C", kernel(kernel_name).build, f"M={directory}/netfilter",
             f"-j{os.cpu_count()}", "modules"], deadline_s=600)
    return directory / "netfilter" / "crab_redirect.ko"
