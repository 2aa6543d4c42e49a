"""Laurel installs on a machine without a compiler."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parent.parent


def test_the_shim_computes_the_published_check_value() -> None:
    import crc16

    assert crc16.crc16xmodem(b"123456789") == 0x31C3  # CRC RevEng catalog, CRC-16/XMODEM
    assert crc16.crc16xmodem(b"456789", crc16.crc16xmodem(b"123")) == 0x31C3


def python_of(name: str) -> Path | None:
    """Return the interpreter that `name` starts; None where it starts none."""
    found = shutil.which(name)
    if found is None:
        return None
    code = "import sys; print(sys.executable)"
    asked = subprocess.run([found, "-c", code], capture_output=True, text=True, check=False)
    # pyenv's shims are there for versions that are not chosen, too.
    if asked.returncode == 0:
        return Path(asked.stdout.strip()).resolve()
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    kept = sorted(versions.glob(f"{name.removeprefix('python')}.*/bin/{name}"))
    return kept[-1] if kept else None


# Without a bound: how long it takes is the network's and the machine's affair.
@pytest.mark.timeout(0)
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_laurel_installs_without_a_compiler(version: str, tmp_path: Path) -> None:
    """The Makefile's own steps, in an environment whose PATH has a Python and nothing that
    compiles; the local network's library comes with it on each."""
    python = python_of(f"python{version}")
    if python is None:
        pytest.skip(f"there is no python{version} here")
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "touch", "awk", "make"):
        found = next(
            Path(d) / tool for d in os.environ["PATH"].split(":") if (Path(d) / tool).exists()
        )
        (tools / tool).symlink_to(found.resolve())
    (tools / "python3").symlink_to(python)
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
    assert "\nFetching some " in done.stdout
    code = "import pytonlib.utils.common as common; print(common.crc16.__file__)"
    shown = subprocess.run(
        [venv / "bin/python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.strip().endswith("crc16.py")
    told = subprocess.run(
        [venv / "bin/laurel", "--version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert told.stdout.startswith("laurel, version ")
    code = "from sandbox.ton.emulator import _load, find_library; print(_load(find_library()))"
    library = subprocess.run(
        [venv / "bin/python", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert str(venv) in library.stdout
