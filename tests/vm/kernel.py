# SPDX-License-Identifier: Apache-2.0
"""The kernels that guests run, built or fetched on demand, and the initramfs of each."""

import dataclasses
import functools
import pathlib
import shutil
import subprocess
import tempfile

from process import run

HERE = pathlib.Path(__file__).resolve().parent
BUILD_DEADLINE_S = 3600.0
# What a distribution's kernel has as modules and a guest needs before it has a root.
_EARLY_MODULES = ("virtio_pci", "virtio_console", "virtio_net", "9pnet_virtio", "9p", "overlay")


@dataclasses.dataclass(frozen=True)
class Kernel:
    name: str
    release: str
    image: pathlib.Path
    modules: pathlib.Path | None  # a tree to be shown as /lib/modules
    build: pathlib.Path  # where modules are built for it


def _early_modules(kernel: Kernel) -> list[pathlib.Path]:
    """In the order in which they must be loaded."""
    if kernel.modules is None:
        return []
    # modprobe wants the root of the tree that has lib/modules.
    root = kernel.modules.parent.parent
    done = run(["modprobe", "-d", root, "-S", kernel.release, "-a", "--show-depends",
                *_EARLY_MODULES])
    paths = [pathlib.Path(line.split()[1]) for line in done.stdout.splitlines()
             if line.startswith("insmod ")]
    return list(dict.fromkeys(paths))


def make_initramfs(kernel: Kernel, path: pathlib.Path) -> None:
    """init.c, and the modules it loads."""
    with tempfile.TemporaryDirectory() as made:
        root = pathlib.Path(made)
        run(["gcc", "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", root / "init",
             HERE / "init.c"])
        early = _early_modules(kernel)
        if early:
            (root / "modules").mkdir()
            for module in early:
                shutil.copy(module, root / "modules")
            (root / "modules" / "order").write_text(
                "".join(f"{module.name}\n" for module in early))
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*"))
        with open(path, "wb") as output:
            subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, check=True,
                           input="\n".join(names).encode(), stdout=output)


@functools.cache
def kernel(name: str) -> Kernel:
    """One of those that kernels/README.md describes; built first, which takes minutes, if it is not
    in the cache."""
    done = run([HERE / "kernels" / "build", name], deadline_s=BUILD_DEADLINE_S)
    # The guest finds it under the same path, and would look for a link's target elsewhere.
    directory = pathlib.Path(done.stdout.strip()).resolve()
    modules = directory / "lib" / "modules"
    return Kernel(name, (directory / "release").read_text().strip(), directory / "bzImage",
                  modules if modules.exists() else None, directory / "build")
