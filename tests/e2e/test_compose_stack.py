"""docker-compose.yml does what it promises: its own commands, environment and healthchecks, run as
processes against a real Kafka, PostgreSQL and Prometheus."""

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
import yaml

from tests.builders.compose import ROOT, SERVICES, environment, mounts
from tests.builders.patience import PATIENCE_S
from tests.e2e.compose_stack import ComposeStack, laurel

pytestmark = [pytest.mark.integration, pytest.mark.kafka]

USER = "7f3a1c9e-0000-4000-8000-000000000001"
WALLET = f"0:{7:064x}"
RUNNING = ["kafka", "postgres", "ton", "worker-1", "worker-2", "minter", "prometheus"]


def until(reached: Callable[[], bool], word: str) -> None:
    """Return once `reached`."""
    deadline = monotonic() + PATIENCE_S
    while not reached():
        assert monotonic() < deadline, f"{word}: not reached"
        sleep(0.1)


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, prometheus_server: Path
) -> Iterator[ComposeStack]:
    """All services of the file but Grafana, started in the order in which they wait for each other."""
    directory = tmp_path_factory.mktemp("compose")
    with ExitStack() as ends:
        stack = ComposeStack(directory, ends)
        stack.start_postgres()
        stack.start_kafka()
        stack.run("migrate")
        stack.run("topics")
        stack.run("catalog")
        for number in range(1, SERVICES["worker"]["deploy"]["replicas"] + 1):
            stack.start_laurel("worker", f"worker-{number}")
        words = directory / "wallet.words"
        stack.variables["WALLET_MNEMONIC_FILE"] = str(words)
        stack.run("minter", "wallet", "new", str(words))
        stack.start_laurel("ton")
        stack.start_laurel("minter")
        stack.start_prometheus(prometheus_server)
        yield stack


def answer(stack: ComposeStack, path: str, **query: str) -> dict[str, Any]:
    """Return what Prometheus answers."""
    (address,) = stack.address("prometheus", 9090)
    words = urllib.parse.urlencode(query)
    with urllib.request.urlopen(f"http://{address}/api/v1/{path}?{words}") as found:
        return dict(json.load(found)["data"])


def test_an_event_in_gives_a_confirmed_token_out(stack: ComposeStack) -> None:
    address = json.loads(stack.run("minter", "wallet", "show", "--json"))["address"]
    (faucet,) = stack.address("ton", 20480)
    stack.run("ton", "sandbox", "fund", address, "--faucet", f"http://{faucet}")
    stack.run("worker-1", "send", "wallet.linked", f"address={WALLET}", "--user", USER)
    stack.run("worker-1", "send", "partner.joined", "partner_id=p1", "--times", "6", "--user", USER)

    def minted() -> bool:
        said = stack.run("worker-1", "explain", USER, "ambassador")
        return "minted" in said and "not_minted" not in said

    until(minted, "a token")
    assert "1 tokens" in stack.run("minter", "reconcile")


def test_prometheus_sees_every_worker_and_the_minter(stack: ComposeStack) -> None:
    def up() -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in answer(stack, "query", query="up")["result"]:
            found.setdefault(each["metric"]["job"], []).append(each["value"][1])
        return found

    until(lambda: up() == {"laurel-worker": ["1", "1"], "laurel-minter": ["1"]}, "all three up")


def test_prometheus_evaluates_every_alert(stack: ComposeStack) -> None:
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules" / "laurel.yml").read_text())
    written = {
        rule.get("alert", rule.get("record")) for g in rules["groups"] for rule in g["rules"]
    }

    def health() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for group in answer(stack, "rules")["groups"]:
            for rule in group["rules"]:
                found.setdefault(rule["name"], set()).add(rule["health"])
        return found

    until(lambda: health() == {name: {"ok"} for name in written}, "every rule evaluated")


@pytest.mark.parametrize("service", RUNNING)
def test_a_healthcheck_tells_a_frozen_service_from_one_that_works(
    stack: ComposeStack, service: str
) -> None:
    found = stack.services[service]
    until(lambda: found.health() == 0, f"{service} is well")
    with found.frozen():
        assert found.health() != 0
    until(lambda: found.health() == 0, f"{service} is well again")


def test_what_the_minter_has_proved_of_the_chain_is_in_its_volume(stack: ComposeStack) -> None:
    volume, _ = mounts("minter")[environment("minter")["LAUREL_TON_STATE_DIR"]]
    assert any(each.is_file() for each in (stack.directory / volume).rglob("*"))


def test_the_verification_for_a_person_with_docker_does_what_it_says(
    stack: ComposeStack, promtool: Path, tmp_path: Path
) -> None:
    """deploy/verify-docker.sh to the letter, with a `docker` whose containers are these processes."""
    root = tmp_path / "checkout"
    shutil.copytree(ROOT / "deploy", root / "deploy")
    tools = tmp_path / "tools"
    tools.mkdir()
    python = f"#!/bin/sh\nexec {sys.executable}"
    for name, text in {
        "docker": f"{python} {ROOT}/tests/e2e/docker_here.py",
        "laurel": f"{python} {ROOT}/cli.py",
        "python": python,
        # Only root may give files away.
        "chown": "#!/bin/sh\necho chown",
    }.items():
        (tools / name).write_text(f'{text} "$@"\n')
        (tools / name).chmod(0o755)
    place = {
        "asked": str(tmp_path / "asked"),
        "path": str(tools),
        "programs": {"laurel": laurel([]), "promtool": [str(promtool)]},
        "prometheus": f"http://{stack.address('prometheus', 9090)[0]}",
        "faucet": f"http://{stack.address('ton', 20480)[0]}",
        "environments": {each.name: dict(each.environment) for each in stack.services.values()},
    }
    (tmp_path / "place.json").write_text(json.dumps(place))
    run = subprocess.run(
        ["bash", root / "deploy" / "verify-docker.sh"],
        env=os.environ
        | {
            "PATH": f"{tools}:{os.environ['PATH']}",
            "DOCKER_HERE": str(tmp_path / "place.json"),
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"
    assert run.stdout.splitlines()[-1].startswith("VERIFIED")
    made = root / ".laurel" / "verify-docker"
    assert {each.name: each.stat().st_mode & 0o777 for each in made.iterdir()} == {
        "wallet.mnemonic": 0o640,
        "grafana.password": 0o640,
    }
    asked = (tmp_path / "asked").read_text().splitlines()
    # What was started is ended.
    assert asked[-1] == "compose down"
