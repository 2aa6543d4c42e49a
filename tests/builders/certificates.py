"""Certificates for tests, made by openssl: a CA, and what it signs."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, in PEM."""

    cert: Path
    key: Path


def openssl() -> bool:
    """Whether it is there."""
    return shutil.which("openssl") is not None


def a_ca(directory: Path, name: str = "ca") -> Pair:
    """A CA of its own."""
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    _run(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", pair.key, "-out", pair.cert, "-days", "2", "-subj", f"/CN={name}"),
    )
    return pair


def signed(ca: Pair, name: str, alternatives: str = "") -> Pair:
    """A certificate by `ca`; `alternatives` are as in `DNS:localhost`."""
    directory = ca.cert.parent
    pair = Pair(directory / f"{name}.pem", directory / f"{name}.key")
    request, extensions = directory / f"{name}.csr", directory / f"{name}.ext"
    extensions.write_text(f"subjectAltName={alternatives}\n" if alternatives else "")
    _run(
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-keyout", pair.key, "-out", request, "-subj", f"/CN={name}"),
    )
    _run(
        *("x509", "-req", "-in", request, "-CA", ca.cert, "-CAkey", ca.key, "-CAcreateserial"),
        *("-days", "2", "-extfile", extensions, "-out", pair.cert),
    )
    pair.key.chmod(0o600)
    return pair


def _run(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
