"""docker-compose.yml is what the compose specification allows, and calls commands, settings and
files that exist."""

import importlib.util
import itertools
import json
import re
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import click
import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from cli import main
from ops import settings
from sandbox.ton.network import CONFIG_NAME

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
LAUREL = sorted(name for name, service in SERVICES.items() if service["image"] == "laurel:local")
# What each command cannot do without (ops.settings.Settings.need).
NEEDED = {
    "catalog": {"LAUREL_DATABASE_URL"},
    "migrate": {"LAUREL_DATABASE_URL"},
    "minter": {"LAUREL_DATABASE_URL", "LAUREL_TON_CONFIG", "LAUREL_WALLET_MNEMONIC_FILE"},
    "ton": set(),
    "topics": {"LAUREL_KAFKA_BROKERS"},
    "worker": {"LAUREL_DATABASE_URL", "LAUREL_KAFKA_BROKERS"},
}


def environment(service: str) -> dict[str, str]:
    """Return the service's environment with the defaults of its ${NAME:-default}."""
    values: dict[str, str] = SERVICES[service].get("environment", {})
    return {name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value) for name, value in values.items()}


def violations(compose: dict[str, Any]) -> list[str]:
    """Return what the specification's schema, vendored by check-jsonschema, finds wrong with
    `compose`."""
    package = importlib.util.find_spec("check_jsonschema")
    assert package is not None
    assert package.origin is not None
    schema = json.loads(
        (Path(package.origin).parent / "builtin_schemas/vendor/compose-spec.json").read_text()
    )
    found = jsonschema.validators.validator_for(schema)(schema).iter_errors(compose)
    return [f"{error.json_path}: {error.message}" for error in found]


def test_the_file_keeps_to_the_compose_specification() -> None:
    assert violations(COMPOSE) == []


def test_a_service_that_breaks_the_specification_would_be_seen() -> None:
    broken = COMPOSE | {"services": SERVICES | {"worker": {"comand": ["worker"]}}}
    assert "'comand' was unexpected" in "".join(violations(broken))


def test_every_part_of_the_stack_is_there() -> None:
    assert set(SERVICES) == {*LAUREL, "kafka", "postgres", "prometheus"}
    assert set(LAUREL) == set(NEEDED)


@pytest.mark.parametrize("service", LAUREL)
def test_a_command_is_one_that_the_command_line_understands(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = SERVICES[service]["command"]
    called: list[str] = []
    monkeypatch.setattr(
        click.Command, "invoke", lambda _command, context: called.append(context.command_path)
    )
    result = CliRunner().invoke(main, words, prog_name="laurel", catch_exceptions=False)
    assert (result.exit_code, result.output) == (0, "")
    named = [word for word in words if not word.startswith("-")]
    assert " ".join(["laurel", *named]).startswith(called[-1])


@pytest.mark.parametrize("service", LAUREL)
def test_an_environment_name_is_a_setting_and_its_value_is_accepted(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = environment(service)
    assert set(given) <= settings.environment_names()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings.load()


@pytest.mark.parametrize("service", LAUREL)
def test_a_command_is_given_what_it_cannot_do_without(service: str) -> None:
    assert set(environment(service)) >= NEEDED[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_for_what_can_be_waited_for(service: str) -> None:
    for name, wait in SERVICES[service].get("depends_on", {}).items():
        match wait["condition"]:
            case "service_healthy":
                assert "healthcheck" in SERVICES[name]
            case "service_completed_successfully":
                assert "healthcheck" not in SERVICES[name]
            case other:
                assert other == "service_started"


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_open_to_this_machine_alone(service: str) -> None:
    assert [
        port for port in SERVICES[service].get("ports", []) if not port.startswith("127.0.0.1:")
    ] == []


def test_addresses_inside_the_stack_lead_to_its_services() -> None:
    assert (
        environment("worker")["LAUREL_KAFKA_BROKERS"]
        in environment("kafka")["KAFKA_ADVERTISED_LISTENERS"]
    )
    assert re.search(r"@postgres:5432/laurel$", environment("worker")["LAUREL_DATABASE_URL"])
    password = environment("postgres")["POSTGRES_PASSWORD"]
    assert f"//laurel:{password}@" in environment("worker")["LAUREL_DATABASE_URL"]


def test_the_minter_reads_the_configuration_that_the_network_writes() -> None:
    given = dict(itertools.pairwise(SERVICES["ton"]["command"]))
    assert environment("minter")["LAUREL_TON_CONFIG"] == f"{given['--directory']}/{CONFIG_NAME}"
    assert f"ton:{given['--directory']}" in SERVICES["ton"]["volumes"]
    assert f"ton:{given['--directory']}:ro" in SERVICES["minter"]["volumes"]
    assert given["--advertise"] in SERVICES
    assert f"127.0.0.1:{given['--admin-port']}/status" in " ".join(
        SERVICES["ton"]["healthcheck"]["test"]
    )
    assert (
        environment("minter")["LAUREL_WALLET_MNEMONIC_FILE"]
        == f"/run/secrets/{SERVICES['minter']['secrets'][0]}"
    )


def test_prometheus_scrapes_the_worker_and_the_minter_where_they_listen() -> None:
    config = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    targets = {
        target
        for job in config["scrape_configs"]
        for group in job["static_configs"]
        for target in group["targets"]
    }
    assert targets == {
        f"{name}:{environment(name)['LAUREL_HTTP__PORT']}" for name in ("worker", "minter")
    }
    for name in ("worker", "minter"):
        assert environment(name)["LAUREL_HTTP__HOST"] == "0.0.0.0"
        assert f"127.0.0.1:{environment(name)['LAUREL_HTTP__PORT']}/ready" in " ".join(
            SERVICES[name]["healthcheck"]["test"]
        )


def test_the_broker_is_the_version_that_the_tests_run_on() -> None:
    pom = ET.parse(ROOT / "third_party" / "kafka" / "pom.xml")
    version = pom.findtext(".//{*}dependency[{*}artifactId='kafka_2.13']/{*}version")
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"


def test_the_image_holds_every_package_of_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packaged = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"])
    copied = {
        source
        for line in (ROOT / "Dockerfile").read_text().splitlines()
        if line.startswith("COPY ") and not line.startswith("COPY --from")
        for source in line.split()[1:-1]
    }
    assert packaged <= copied
    assert [source for source in copied if not (ROOT / source).exists()] == []
    let_in = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert copied == let_in


def test_the_image_runs_as_a_number_that_kubernetes_can_tell_from_root() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (user,) = re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE)
    assert f"--uid {user} " in dockerfile
    assert int(user) > 0
