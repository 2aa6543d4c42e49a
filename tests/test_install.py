"""Laurel installs on a machine without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent


def test_the_shim_computes_the_published_check_value() -> None:
    import crc16

    assert crc16.crc16xmodem(b"123456789") == 0x31C3  # CRC RevEng catalog, CRC-16/XMODEM
    assert crc16.crc16xmodem(b"456789", crc16.crc16xmodem(b"123")) == 0x31C3


# Without a bound: how long it takes is the network's and the machine's affair.
@pytest.mark.timeout(0)
def test_laurel_installs_without_a_compiler(tmp_path: Path) -> None:
    """The Makefile's own steps, in an environment whose PATH has a Python and nothing that
    compiles."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "touch", "awk", "make"):
        found = next(
            Path(d) / tool for d in os.environ["PATH"].split(":") if (Path(d) / tool).exists()
        )
        (tools / tool).symlink_to(found.resolve())
    (tools / "python3").symlink_to(Path(sys.executable).resolve())
    for compiler in ("cc", "gcc", "clang", "c++", "g++"):
        (tools / compiler).write_text("#!/bin/sh\necho 'a compiler was called' >&2\nexit 1\n")
        (tools / compiler).chmod(0o755)
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("CC", "CXX", "VIRTUAL_ENV", "PYTHONPATH")
    }
    environment |= {"PATH": str(tools), "CC": str(tools / "cc")}
    venv = tmp_path / "venv"
    done = subprocess.run(
        ["make", f"VENV={venv}", "PYTHON=python3", f"{venv}/.run"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    code = "import pytonlib.utils.common as common; print(common.crc16.__file__)"
    shown = subprocess.run(
        [venv / "bin/python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.strip().endswith("crc16.py")
    version = subprocess.run(
        [venv / "bin/laurel", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert version.stdout.startswith("laurel, version ")
