"""Certificates for one test, made by openssl: an authority, and what it has signed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Signed:
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that lives in `folder`."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._own = Signed(folder / f"{name}.pem", folder / f"{name}.key")
        self._run(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1",
            f"-subj /CN={name} -keyout {self._own.key} -out {self._own.certificate}",
        )

    @property
    def root(self) -> Path:
        return self._own.certificate

    def sign(self, name: str) -> Signed:
        """Return a certificate for localhost."""
        signed = Signed(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request, extensions = self._folder / f"{name}.csr", self._folder / f"{name}.ext"
        extensions.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        self._run(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes",
            f"-subj /CN={name} -keyout {signed.key} -out {request}",
        )
        self._run(
            f"x509 -req -days 1 -in {request} -CA {self._own.certificate} -CAkey {self._own.key} -CAcreateserial",
            f"-extfile {extensions} -out {signed.certificate}",
        )
        return signed

    @staticmethod
    def _run(*arguments: str) -> None:
        subprocess.run(["openssl", *" ".join(arguments).split()], check=True, capture_output=True)
