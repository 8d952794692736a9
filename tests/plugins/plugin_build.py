# SPDX-License-Identifier: Apache-2.0
"""Builds policy plugins as an outsider would: from what `meson install` installs, nothing else."""

import os
import pathlib
import shutil
import subprocess

SOURCES = pathlib.Path(__file__).resolve().parent
EXAMPLE = SOURCES.parents[1] / "policies" / "example"


class Headers:
    """Crab's development files, installed below a directory of their own."""

    def __init__(self, directory: pathlib.Path):
        self.root = directory / "destdir"
        subprocess.run(["meson", "install", "-C", os.environ["CRAB_BUILD"], "--no-rebuild",
                        "--tags", "devel", "--destdir", self.root], check=True,
                       capture_output=True)
        (pc,) = self.root.rglob("crab-policy.pc")
        self.environment = os.environ | {"PKG_CONFIG_PATH": str(pc.parent),
                                         "PKG_CONFIG_SYSROOT_DIR": str(self.root)}

    def flags(self) -> list[str]:
        return subprocess.run(["pkg-config", "--cflags", "crab-policy"], env=self.environment,
                              check=True, capture_output=True, text=True).stdout.split()


def plugin_directory(directory: pathlib.Path) -> pathlib.Path:
    """A policy_directory that crab-lb trusts."""
    path = directory / "policies"
    path.mkdir(mode=0o755)
    path.chmod(0o755)
    return path


def build_example(headers: Headers, work: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """policies/example, copied out of the tree and built there by its Makefile."""
    copy = work / "example"
    shutil.copytree(EXAMPLE, copy)
    subprocess.run(["make", "-C", copy], env=headers.environment, check=True, capture_output=True)
    path = target / "least_open.so"
    shutil.copy(copy / "least_open.so", path)
    path.chmod(0o644)
    return path


def header_flags(directory: pathlib.Path) -> list[str]:
    """For a test that may not install from the build directory: the header alone, copied."""
    (directory / "include" / "crab").mkdir(parents=True)
    shutil.copy(EXAMPLE.parent / "policy.h", directory / "include" / "crab")
    return [f"-I{directory / 'include'}"]


def compile_plugin(flags: list[str], source: pathlib.Path, target: pathlib.Path,
                   *defines: str) -> pathlib.Path:
    """One source as a shared object."""
    subprocess.run(["cc", "-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fPIC", "-shared",
                    "-fvisibility=hidden", *flags, *(f"-D{d}" for d in defines), "-o", target,
                    source], check=True)
    target.chmod(0o644)
    return target


def build_faulty(flags: list[str], folder: pathlib.Path, file: str, *defines: str) -> pathlib.Path:
    """faulty.c with these -D, as FILE.so."""
    return compile_plugin(flags, SOURCES / "faulty.c", folder / f"{file}.so", *defines)
