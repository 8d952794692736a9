# SPDX-License-Identifier: Apache-2.0
"""Certificates by the openssl command, as docs/operations.md makes them."""

import pathlib

from process import run

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """Files NAME.pem and NAME.key in a directory, and those that it issues beside them."""

    def __init__(self, directory: pathlib.Path, name: str):
        self.directory, self.name = directory, name
        self.certificate = directory / f"{name}.pem"
        run(["openssl", "req", "-x509", *_NEW_KEY, "-days", 2, "-subj", f"/CN={name}",
             "-keyout", directory / f"{name}.key", "-out", self.certificate])

    def issue(self, name: str, alternative_names: str, usage: str, days: int = 1) -> None:
        """Replaces NAME.pem and NAME.key, each in one step. Negative days: it has expired."""
        fresh = self.directory / f"{name}.new"
        run(["openssl", "req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", f"{fresh}.key",
             "-out", f"{fresh}.csr"])
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={alternative_names}\nextendedKeyUsage={usage}\n")
        run(["openssl", "x509", "-req", "-in", f"{fresh}.csr", "-CA", self.certificate,
             "-CAkey", self.directory / f"{self.name}.key", "-CAcreateserial", "-days", days,
             "-extfile", extensions, "-out", f"{fresh}.pem"])
        for kind in ("key", "pem"):
            pathlib.Path(f"{fresh}.{kind}").rename(self.directory / f"{name}.{kind}")
