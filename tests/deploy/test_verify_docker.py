"""deploy/verify-docker.sh says what failed, and leaves nothing behind.

That it finds a stack that works is shown in tests/e2e/test_compose_stack.py.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "deploy" / "verify-docker.sh").read_text()


@pytest.mark.parametrize(
    ("fails", "step"),
    [
        ("build", "build the images"),
        ("run", "make the secrets"),
        ("up", "start all services, and wait until each is well"),
        ("exec", "give the wallet money"),
    ],
)
def test_what_fails_is_the_verdict_and_nothing_is_left(
    tmp_path: Path, fails: str, step: str
) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "checkout" / "deploy")
    docker = tmp_path / "docker"
    docker.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\ncase "$1 $2" in *{fails}*) exit 3;; esac\n'
    )
    docker.chmod(0o755)
    run = subprocess.run(
        ["bash", tmp_path / "checkout" / "deploy" / "verify-docker.sh"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 3
    assert run.stdout.splitlines()[-1] == f"NOT VERIFIED: {step}."
    last = (tmp_path / "asked").read_text().splitlines()[-1]
    assert last == "compose down --volumes"


def test_it_touches_no_stack_but_its_own() -> None:
    assert "export COMPOSE_PROJECT_NAME=laurel-verify " in SCRIPT
    assert re.search(r"^secrets=\.laurel/", SCRIPT, re.MULTILINE)
    # An option would name another project.
    assert not re.search(r"docker compose (-p|--project)", SCRIPT)
