"""docker-compose.yml is what the compose specification allows, and calls commands, settings and
files that exist; no service of it can do more than it has to."""

import importlib.util
import itertools
import json
import re
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
from ops.setting_parts import LifecycleSettings
from sandbox.ton.network import CONFIG_NAME
from tests.builders.compose import (
    COMPOSE,
    LAUREL,
    ROOT,
    SERVICES,
    environment,
    interpolated,
    memory,
    mounts,
    seconds,
)

# What each command cannot do without (ops.settings.Settings.need).
NEEDED = {
    "catalog": {"LAUREL_DATABASE_URL", "LAUREL_KAFKA_BROKERS"},
    "migrate": {"LAUREL_DATABASE_URL"},
    "minter": {"LAUREL_DATABASE_URL", "LAUREL_TON_CONFIG", "LAUREL_WALLET_MNEMONIC_FILE"},
    "ton": set(),
    "topics": {"LAUREL_KAFKA_BROKERS", "LAUREL_DATABASE_URL"},
    "worker": {"LAUREL_DATABASE_URL", "LAUREL_KAFKA_BROKERS"},
}
# Services that end, in their order; all others run for ever.
COMMANDS = ("migrate", "topics", "catalog")
RUNNING = sorted(SERVICES.keys() - set(COMMANDS))
# service -> what must outlive it, and the volume that it is in.
KEPT = {
    "grafana": ("/var/lib/grafana", "grafana"),
    "kafka": ("/var/lib/kafka/data", "kafka"),
    "minter": ("/var/lib/laurel/ton-state", "ton-state"),
    "postgres": ("/var/lib/postgresql", "postgres"),
    "prometheus": ("/prometheus", "prometheus"),
}
# service -> what its image writes beside what is kept; /tmp where nothing is named.
WRITTEN = {
    "kafka": {
        "/tmp",
        "/opt/kafka/config",
        "/opt/kafka/logs",
        "/etc/kafka/secrets",
        "/mnt/shared/config",
    },
    "postgres": {"/tmp", "/run/postgresql"},
}
OPEN = {"grafana": 3000, "kafka": 9092, "prometheus": 9090}
SANDBOX = "sandbox"
PROMETHEUS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())


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
    assert set(SERVICES) == {*LAUREL, "kafka", "postgres", "prometheus", "grafana"}
    assert set(LAUREL) == set(NEEDED)
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


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
    given = environment(service, LAUREL_METADATA_BASE_URL="https://badges.mine/metadata")
    assert set(SERVICES[service].get("environment", {})) == set(given)
    assert set(given) <= settings.environment_names()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings.load()


@pytest.mark.parametrize("service", LAUREL)
def test_a_process_is_not_the_first_of_its_container(service: str) -> None:
    """Whose affair it would be to reap what healthchecks leave behind."""
    assert SERVICES[service]["init"] is True


@pytest.mark.parametrize("service", LAUREL)
def test_a_command_is_given_what_it_cannot_do_without(service: str) -> None:
    assert set(environment(service)) >= NEEDED[service]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_do_no_more_than_it_has_to(service: str) -> None:
    found = SERVICES[service]
    assert found["read_only"] is True
    assert found["cap_drop"] == ["ALL"]
    assert found["security_opt"] == ["no-new-privileges:true"]
    user, group = found["user"].split(":")
    assert int(user) > 0
    assert group.isdecimal()
    assert found.keys().isdisjoint({"privileged", "cap_add", "network_mode", "pid", "devices"})
    assert [source for source, _ in mounts(service).values() if "docker.sock" in source] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_use_up_neither_memory_nor_processes_nor_the_disk(service: str) -> None:
    limits = SERVICES[service]["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["pids"] > 0
    # A limit above what the machine has would be refused.
    assert "cpus" not in limits
    assert set(SERVICES[service]["logging"]["options"]) == {"max-size", "max-file"}
    assert "size=" in memory(service)["/tmp"]
    assert all("size=" in options for options in memory(service).values())


@pytest.mark.parametrize("service", SERVICES)
def test_what_an_image_writes_is_in_memory_and_its_users(service: str) -> None:
    assert set(memory(service)) == WRITTEN.get(service, {"/tmp"})
    user, group = SERVICES[service]["user"].split(":")
    for options in memory(service).values():
        if "uid=" in options:
            assert f"uid={user},gid={group}" in options
    for place in ("/opt/kafka/config", "/opt/kafka/logs", "/run/postgresql"):
        assert "uid=" in memory(service).get(place, "uid=")
    assert "mode=1777" in memory(service)["/tmp"]


@pytest.mark.parametrize("service", RUNNING)
def test_a_service_that_runs_for_ever_says_how_it_is_and_comes_back(service: str) -> None:
    check = SERVICES[service]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert seconds(check["timeout"]) <= seconds(check["interval"])
    # One answer that is late is no reason to call it ill.
    assert check["retries"] >= 3
    # While it starts it is asked often, and is not taken for ill.
    assert seconds(check["start_interval"]) < seconds(check["interval"])
    assert seconds(check["start_period"]) >= 60
    # The local network's chain is gone with its process.
    assert SERVICES[service]["restart"] == ("no" if service == "ton" else "unless-stopped")


@pytest.mark.parametrize("service", COMMANDS)
def test_a_command_that_fails_is_not_tried_for_ever(service: str) -> None:
    assert SERVICES[service]["restart"] == "on-failure:5"
    assert "healthcheck" not in SERVICES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_in_flight_is_finished_before_a_service_is_killed(service: str) -> None:
    drain = LifecycleSettings().drain_timeout.total_seconds()
    assert seconds(SERVICES[service]["stop_grace_period"]) > drain


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_waits_for_what_can_be_waited_for(service: str) -> None:
    for name, wait in SERVICES[service].get("depends_on", {}).items():
        match wait["condition"]:
            case "service_healthy":
                assert name in RUNNING
            case other:
                assert other == "service_completed_successfully"
                assert name in COMMANDS


def test_each_command_waits_for_the_one_before() -> None:
    for before, after in itertools.pairwise([*COMMANDS, "worker"]):
        assert before in SERVICES[after]["depends_on"]


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_open_to_this_machine_alone(service: str) -> None:
    port = OPEN.get(service)
    assert SERVICES[service].get("ports", []) == ([f"127.0.0.1:{port}:{port}"] if port else [])
    # Of two containers of one service only one could have such a name.
    assert "container_name" not in SERVICES[service]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_a_release(service: str) -> None:
    name, _, tag = SERVICES[service]["image"].rpartition(":")
    assert (name == "laurel") != bool(re.search(r"\d", tag))


@pytest.mark.parametrize("service", KEPT)
def test_what_must_stay_is_in_a_volume_with_a_name(service: str) -> None:
    place, volume = KEPT[service]
    assert mounts(service)[place] == (volume, True)


def test_what_must_stay_is_where_the_services_write_it() -> None:
    assert environment("kafka")["KAFKA_LOG_DIRS"] == KEPT["kafka"][0]
    assert environment("minter")["LAUREL_TON_STATE_DIR"] == KEPT["minter"][0]
    assert f"--storage.tsdb.path={KEPT['prometheus'][0]}" in SERVICES["prometheus"]["command"]


def test_every_volume_is_used_and_every_file_is_there() -> None:
    sources = {source for name in SERVICES for source, _ in mounts(name).values()}
    assert {each for each in sources if not each.startswith("./")} == set(COMPOSE["volumes"])
    for service in SERVICES:
        for source, writable in mounts(service).values():
            if source.startswith("./"):
                assert not writable
                assert (ROOT / source).exists()


def test_kafka_may_load_from_memory_the_codecs_that_it_unpacks_there() -> None:
    assert "exec" in memory("kafka")["/tmp"].split(",")


def test_kafka_works_as_one_node_and_keeps_to_its_memory() -> None:
    given = environment("kafka")
    copies = {name for name in given if name.endswith(("_REPLICATION_FACTOR", "_MIN_ISR"))}
    assert copies == {
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
        *(
            f"KAFKA_{log}_{what}"
            for log in ("TRANSACTION_STATE_LOG", "SHARE_COORDINATOR_STATE_TOPIC")
            for what in ("REPLICATION_FACTOR", "MIN_ISR")
        ),
    }
    assert {given[name] for name in copies} == {"1"}
    # A misspelt topic is an error, and no topic.
    assert given["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    # kafka-server-start.sh adds the collector's log unless it is told what else.
    assert given["EXTRA_ARGS"].split() == ["-name", "kafkaServer"]
    (heap,) = re.findall(r"-Xmx(\d+)m", given["KAFKA_HEAP_OPTS"])
    limit = SERVICES["kafka"]["deploy"]["resources"]["limits"]["memory"]
    assert 2 * int(heap) <= int(limit.removesuffix("M"))


def test_addresses_inside_the_stack_lead_to_its_services() -> None:
    assert (
        environment("worker")["LAUREL_KAFKA_BROKERS"]
        in environment("kafka")["KAFKA_ADVERTISED_LISTENERS"]
    )
    assert re.search(r"@postgres:5432/laurel$", environment("worker")["LAUREL_DATABASE_URL"])
    password = environment("postgres", POSTGRES_PASSWORD="secret")["POSTGRES_PASSWORD"]
    url = environment("worker", POSTGRES_PASSWORD="secret")["LAUREL_DATABASE_URL"]
    assert f"//laurel:{password}@" in url


def test_the_minter_reads_the_configuration_that_the_local_network_writes() -> None:
    given = dict(itertools.pairwise(SERVICES["ton"]["command"]))
    place = given["--directory"]
    assert environment("minter")["LAUREL_TON_CONFIG"] == f"{place}/{CONFIG_NAME}"
    assert mounts("ton")[place] == ("ton", True)
    assert mounts("minter")[place] == ("ton", False)
    assert given["--advertise"] in SERVICES
    assert f"127.0.0.1:{given['--admin-port']}/status" in " ".join(
        SERVICES["ton"]["healthcheck"]["test"]
    )


def test_the_minter_reads_the_words_of_its_wallet_as_a_secret() -> None:
    (secret,) = SERVICES["minter"]["secrets"]
    assert environment("minter")["LAUREL_WALLET_MNEMONIC_FILE"] == f"/run/secrets/{secret}"


def test_the_local_network_comes_with_its_profile_alone() -> None:
    assert [name for name in SERVICES if "profiles" in SERVICES[name]] == ["ton"]
    assert SERVICES["ton"]["profiles"] == [SANDBOX]
    assert SERVICES["minter"]["depends_on"]["ton"]["required"] is False


def test_without_the_local_network_the_minter_is_told_of_another() -> None:
    place = str(Path(environment("minter")["LAUREL_TON_CONFIG"]).parent)
    assert mounts("minter", TON_DIR="./testnet")[place] == ("./testnet", False)
    assert "LAUREL_METADATA_BASE_URL" not in environment("minter")
    given = environment("minter", LAUREL_METADATA_BASE_URL="https://badges.mine/metadata")
    assert given["LAUREL_METADATA_BASE_URL"] == "https://badges.mine/metadata"


def test_the_catalog_may_be_ones_own() -> None:
    for service in ("topics", "catalog"):
        place = environment(service)["LAUREL_CATALOG_DIR"]
        assert mounts(service)[place] == ("./catalog", False)
        assert mounts(service, CATALOG_DIR="./mine")[place] == ("./mine", False)


def test_prometheus_scrapes_all_workers_and_minters_where_they_listen() -> None:
    found = {
        job["job_name"]: (sd["names"], sd["type"], sd["port"])
        for job in PROMETHEUS["scrape_configs"]
        for sd in job["dns_sd_configs"]
    }
    port = int(environment("worker")["LAUREL_HTTP__PORT"])
    assert found == {f"laurel-{name}": ([name], "A", port) for name in ("worker", "minter")}
    for name in ("worker", "minter"):
        assert environment(name)["LAUREL_HTTP__HOST"] == "0.0.0.0"
        assert int(environment(name)["LAUREL_HTTP__PORT"]) == port
        assert f"127.0.0.1:{port}/ready" in " ".join(SERVICES[name]["healthcheck"]["test"])


def test_prometheus_reads_its_configuration_and_the_rules_beside_it() -> None:
    found = mounts("prometheus")
    (config,) = (
        word.partition("=")[2]
        for word in SERVICES["prometheus"]["command"]
        if word.startswith("--config.file=")
    )
    assert found[config] == ("./deploy/prometheus/prometheus.yml", False)
    (rules,) = PROMETHEUS["rule_files"]
    assert found[str((Path(config).parent / rules).parent)] == ("./deploy/prometheus/rules", False)


def test_grafana_is_looked_at_by_all_on_this_machine_and_changed_by_who_has_the_password() -> None:
    given = environment("grafana")
    (secret,) = SERVICES["grafana"]["secrets"]
    assert given["GF_SECURITY_ADMIN_PASSWORD__FILE"] == f"/run/secrets/{secret}"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in given
    assert given["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert given["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    home = given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounts("grafana")[str(Path(home).parent)] == ("./deploy/grafana/dashboards", False)
    assert mounts("grafana")["/etc/grafana/provisioning"] == (
        "./deploy/grafana/provisioning",
        False,
    )


def test_the_secrets_that_are_made_are_those_that_are_read() -> None:
    script = (ROOT / "deploy" / "secrets.sh").read_text()
    for secret in COMPOSE["secrets"].values():
        path = Path(interpolated(secret["file"]))
        assert path.parent == Path("secrets")
        assert f"[ -e {path.name} ]" in script
    (owner,) = re.findall(r"chown (\d+):(\d+) ", script)
    assert SERVICES["minter"]["user"] == ":".join(owner)
    assert SERVICES["grafana"]["group_add"] == [owner[1]]
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_broker_is_the_version_that_the_tests_run_on() -> None:
    pom = ET.parse(ROOT / "third_party" / "kafka" / "pom.xml")
    version = pom.findtext(".//{*}dependency[{*}artifactId='kafka_2.13']/{*}version")
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{version}"
