"""Settings: one tree, refused early and by name."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import get_args

import pytest
from pydantic import SecretStr, ValidationError

from ops.errors import UsageError
from ops.settings import (
    SettingField,
    Settings,
    environment_names,
    load,
    setting_fields,
    shown,
)

STABLE = {
    "LAUREL_DATABASE_URL",
    "LAUREL_KAFKA_BROKERS",
    "LAUREL_TON_CONFIG",
    "LAUREL_WALLET_MNEMONIC_FILE",
    "LAUREL_CATALOG_DIR",
    "LAUREL_TENANT_ID",
    "LAUREL_METADATA_BASE_URL",
}


def test_the_promised_names_exist() -> None:
    assert environment_names() >= STABLE


def test_the_environment_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "laurel.toml"
    file.write_text(
        'kafka_brokers = "10.0.0.1:9092"\n[worker]\nbatch_records_max = 5\nchunk_records_max = 7\n'
    )
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    monkeypatch.setenv("LAUREL_WORKER__BATCH_RECORDS_MAX", "6")
    settings = load()
    assert (
        settings.kafka_brokers,
        settings.worker.batch_records_max,
        settings.worker.chunk_records_max,
    ) == (
        "10.0.0.1:9092",
        6,
        7,
    )


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("LAUREL_WORKER__BATCH_RECORDS_MAX", "none", "LAUREL_WORKER__BATCH_RECORDS_MAX: .*integer"),
        ("LAUREL_TENANT_ID", "me", "LAUREL_TENANT_ID: .*UUID"),
        ("LAUREL_WORKER__BATCHES", "1", "LAUREL_WORKER__BATCHES: there is no such setting"),
        ("LAUREL_METADATA_BASE_URL", "ftp://x", "LAUREL_METADATA_BASE_URL: "),
        ("LAUREL_MINTER__LEASE", "10s", "minter.lease must be longer"),
        ("LAUREL_LIFECYCLE__STALL_AFTER", "2m", "lifecycle.stall_after must be longer"),
        ("LAUREL_MINTER__LEASE", "10", "LAUREL_MINTER__LEASE: 10 has no unit: write"),
        ("LAUREL_MINTER__LEASE", "soon", "LAUREL_MINTER__LEASE: .*duration"),
        ("LAUREL_MINTER__ITEM_VALUE", "0.001", "LAUREL_MINTER__ITEM_VALUE: .*equal to 0.0015"),
        ("LAUREL_MINTER__ITEM_VALUE", "0.0111", "exceed minter.item_forward by at least 0.0012"),
        ("LAUREL_MINTER__ITEM_FORWARD", "0.0002", "LAUREL_MINTER__ITEM_FORWARD: .*to 0.00022"),
        ("LAUREL_MINTER__REVOKE_VALUE", "0.0002", "LAUREL_MINTER__REVOKE_VALUE: .*to 0.0003"),
        ("LAUREL_MINTER__DEPLOY_VALUE", "0.002", "LAUREL_MINTER__DEPLOY_VALUE: .*to 0.003"),
        ("LAUREL_MINTER__ITEM_VALUE", "0.0300000001", "LAUREL_MINTER__ITEM_VALUE: .*9 decimal"),
        ("LAUREL_MINTER__ITEM_VALUE", "NaN", "LAUREL_MINTER__ITEM_VALUE: .*finite"),
        ("LAUREL_MINTER__ITEM_VALUE", "much", "LAUREL_MINTER__ITEM_VALUE: .*write Grams"),
        (
            "LAUREL_MINTER__POLL_INTERVAL",
            "PT0S",
            "LAUREL_MINTER__POLL_INTERVAL: must be longer than nothing",
        ),
        ("LAUREL_KAFKA_BROKERS", "a:b", "LAUREL_KAFKA_BROKERS: it should read host:port"),
        ("LAUREL_KAFKA_BROKERS", "kafka:0", "LAUREL_KAFKA_BROKERS: .*from 1 to 65535"),
        ("LAUREL_KAFKA_BROKERS", "kafka:70000", "LAUREL_KAFKA_BROKERS: .*from 1 to 65535"),
        ("LAUREL_KAFKA_BROKERS", "a..b:9092", "LAUREL_KAFKA_BROKERS: it should read host:port"),
        ("LAUREL_KAFKA_BROKERS", "x" * 64, "LAUREL_KAFKA_BROKERS: it should read host:port"),
        ("LAUREL_HTTP__HOST", "a..b", "LAUREL_HTTP__HOST: is no host"),
        ("LAUREL_HTTP__HOST", "x" * 64, "LAUREL_HTTP__HOST: is no host"),
        ("LAUREL_HTTP__HOST", "\udcff", "LAUREL_HTTP__HOST: is no host"),
        (
            "LAUREL_KAFKA__FETCH_MAX_WAIT",
            "15s",
            "LAUREL_KAFKA__FETCH_MAX_WAIT must be shorter than LAUREL_KAFKA__REQUEST_TIMEOUT",
        ),
        ("LAUREL_METADATA_BASE_URL", "https://me:secret@host/a", "LAUREL_METADATA_BASE_URL: "),
        ("LAUREL_KAFKA_BROKERS", "kafka:9092,", "LAUREL_KAFKA_BROKERS: it should read host:port"),
        ("LAUREL_KAFKA_BROKERS", "kafka://kafka:9092", "LAUREL_KAFKA_BROKERS: it should read"),
        (
            "LAUREL_CONFIG_FILE",
            "/does/not/exist.toml",
            "LAUREL_CONFIG_FILE: there is no file /does/not/exist.toml",
        ),
    ],
)
def test_a_wrong_setting_is_named(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        load()
    assert re.search(words, caught.value.message)


def test_durations_and_amounts_are_read_as_people_write_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "laurel.toml"
    file.write_text('[minter]\nlease = "90s"\nitem_value = 0.07\n')
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    monkeypatch.setenv("LAUREL_MINTER__BALANCE_RESERVE", "2.5 TON")
    monkeypatch.setenv("LAUREL_WORKER__STALL_AFTER", "PT3M")
    settings = load()
    assert settings.minter.lease == timedelta(seconds=90)
    assert settings.minter.item_value == Decimal("0.07")
    assert settings.minter.balance_reserve == Decimal("2.5")
    assert settings.worker.stall_after == timedelta(minutes=3)


def test_an_unknown_name_in_the_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "laurel.toml"
    file.write_text("[worker]\nbatch = 5\n")
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    with pytest.raises(UsageError, match="LAUREL_WORKER__BATCH"):
        load()


def test_every_secret_may_stand_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the environment at the top and below, and by the settings file."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o600)
    file = tmp_path / "laurel.toml"
    file.write_text(f'[kafka]\nkey_password_file = "{secret}"\ncert_file = "cert.pem"\n')
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    monkeypatch.setenv("LAUREL_DATABASE_URL_FILE", str(secret))
    monkeypatch.setenv("LAUREL_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("LAUREL_KAFKA__SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("LAUREL_KAFKA__SASL_USERNAME", "alice")
    monkeypatch.setenv("LAUREL_KAFKA__SASL_PASSWORD_FILE", str(secret))
    settings = load()
    found = (settings.database_url, settings.kafka.sasl_password, settings.kafka.key_password)
    assert [each.get_secret_value() for each in found if each] == ["hunter2"] * 3


def test_a_secret_of_the_environment_wins_over_a_file_of_the_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("postgresql://elsewhere/laurel\n")
    secret.chmod(0o600)
    file = tmp_path / "laurel.toml"
    file.write_text(f'database_url_file = "{secret}"\n')
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    assert load().need("database_url") == "postgresql://elsewhere/laurel"
    monkeypatch.setenv("LAUREL_DATABASE_URL", "postgresql://db/laurel")
    assert load().need("database_url") == "postgresql://db/laurel"


def test_a_secret_and_its_file_are_refused_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_DATABASE_URL", "postgresql://db/laurel")
    monkeypatch.setenv("LAUREL_DATABASE_URL_FILE", str(tmp_path / "secret"))
    with pytest.raises(UsageError, match="DATABASE_URL and LAUREL_DATABASE_URL_FILE are both set"):
        load()


def test_a_settings_file_with_a_secret_in_it_is_for_its_owner_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "laurel.toml"
    file.write_text('database_url = "postgresql://laurel:hunter2@db/laurel"\n')
    file.chmod(0o644)
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    with pytest.raises(UsageError, match=f"LAUREL_CONFIG_FILE: others can read .*{file}") as caught:
        load()
    assert "hunter2" not in caught.value.message
    file.chmod(0o600)
    assert load().database_url is not None


def test_a_file_that_is_no_toml_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "laurel.toml"
    file.write_text("kafka_brokers =\n")
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    with pytest.raises(UsageError, match=r"laurel\.toml"):
        load()


def test_a_broken_value_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_TENANT_ID", "postgresql://laurel:hunter2@db/laurel")
    with pytest.raises(UsageError) as caught:
        load()
    assert "hunter2" not in caught.value.message


def test_every_misspelt_name_gets_its_guess(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_KAFKA_BROKER", "kafka:9092")
    monkeypatch.setenv("LAUREL_DATABASE_URL_FIEL", "/run/secrets/laurel")
    with pytest.raises(UsageError) as caught:
        load()
    assert "Did you mean LAUREL_DATABASE_URL_FILE?\nLAUREL_KAFKA_BROKER: " in caught.value.message
    assert "Did you mean LAUREL_KAFKA_BROKERS?" in caught.value.message
    monkeypatch.delenv("LAUREL_KAFKA_BROKER")
    monkeypatch.delenv("LAUREL_DATABASE_URL_FIEL")
    file = tmp_path / "laurel.toml"
    file.write_text('kafka_broker = "kafka:9092"\n[worker]\nstall_aftr = "5m"\n')
    monkeypatch.setenv("LAUREL_CONFIG_FILE", str(file))
    with pytest.raises(UsageError, match="Did you mean LAUREL_WORKER__STALL_AFTER") as caught:
        load()
    assert "Did you mean LAUREL_KAFKA_BROKERS?" in caught.value.message


def test_the_tree_is_frozen() -> None:
    settings = load()
    with pytest.raises(ValidationError):
        settings.kafka_brokers = "elsewhere:9092"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        settings.minter.lease = timedelta(days=1)  # type: ignore[misc]


def test_a_secret_does_not_print() -> None:
    assert "hunter2" not in repr(load(database_url="postgresql://laurel:hunter2@db/laurel"))


def test_what_is_needed_and_missing_names_the_setting_and_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"LAUREL_DATABASE_URL is not set\..*laurel dev"):
        Settings().need("database_url")


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(UsageError, match="LAUREL_KAFKA_BROKERS, LAUREL_TON_CONFIG are not set"):
        load(database_url="postgresql://db/laurel").require(
            "database_url", "kafka_brokers", "ton_config"
        )


@pytest.mark.parametrize(
    "name",
    [
        "LAUREL_SERVICE_HOST",
        "LAUREL_SERVICE_PORT",
        "LAUREL_SERVICE_PORT_HTTP",
        "LAUREL_PORT",
        "LAUREL_PORT_9464_TCP",
        "LAUREL_PORT_9464_TCP_PROTO",
        "LAUREL_WORKER_SERVICE_HOST",
        "LAUREL_WORKER_PORT_9464_TCP_ADDR",
        "LAUREL_WORKER_2_PORT_53_UDP_PORT",
    ],
)
def test_what_kubernetes_says_of_a_service_is_no_setting(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "tcp://10.0.0.1:9464")
    assert load() == Settings()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("LAUREL_HTTP_PORT_", "LAUREL_HTTP__PORT"),
        ("LAUREL_KAFKA_BROKER", "LAUREL_KAFKA_BROKERS"),
        ("laurel_worker__stall_afte", "LAUREL_WORKER__STALL_AFTER"),
    ],
)
def test_a_name_that_is_nearly_right_gets_a_guess(
    name: str, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(
        UsageError, match=f"{name}: there is no such setting. Did you mean {meant}?"
    ):
        load()


def test_every_setting_says_what_it_is_for() -> None:
    assert [each.name for each in setting_fields() if not each.field.description] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "(not set)"),
        (SecretStr("hunter2"), "(set, hidden)"),
        (True, "true"),
        (timedelta(minutes=90), "1h30m"),
        (Decimal("1.00"), "1"),
        (Decimal(100), "100"),
        (Decimal("0.0012816"), "0.0012816"),
        (5, "5"),
    ],
)
def test_a_value_is_shown_as_it_would_be_written(value: object, text: str) -> None:
    assert shown(value) == text


NUMBERS = [
    each.name
    for each in setting_fields()
    if {int, timedelta, Decimal} & {each.field.annotation, *get_args(each.field.annotation)}
]


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_nothing_could_hold_is_named(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for value in ("9" * 30, "9" * 30 + "d", "99999999d", "0.4ms", "-2", "1e400"):
        monkeypatch.setenv(name, value)
        with pytest.raises(UsageError, match=f"^{name}: "):
            load()


@pytest.mark.parametrize("each", list(setting_fields()), ids=lambda each: each.name)
def test_an_empty_setting_is_named(each: SettingField, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "  ", "\r\n"):
        monkeypatch.setenv(each.name, value)
        with pytest.raises(UsageError, match=f"^{each.name}: is empty"):
            load()


def test_the_end_of_a_line_is_no_part_of_a_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_TON_CONFIG", "/etc/laurel/global.config.json\r")
    monkeypatch.setenv("LAUREL_DATABASE_URL", "postgresql://db/laurel\r\n")
    found = load()
    assert found.ton_config == Path("/etc/laurel/global.config.json")
    assert found.need("database_url") == "postgresql://db/laurel"


def test_quotes_that_a_file_of_settings_keeps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_TON_CONFIG", '"/etc/laurel/global.config.json"')
    with pytest.raises(UsageError, match=r"^LAUREL_TON_CONFIG: has quotes around it"):
        load()


def test_a_password_may_begin_and_end_with_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAUREL_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("LAUREL_KAFKA__SASL_MECHANISM", "PLAIN")
    monkeypatch.setenv("LAUREL_KAFKA__SASL_USERNAME", "me")
    monkeypatch.setenv("LAUREL_KAFKA__SASL_PASSWORD", '"a b "')
    password = load().kafka.sasl_password
    assert password is not None
    assert password.get_secret_value() == '"a b "'


@pytest.mark.parametrize(("written", "host"), [("[::1]", "::1"), ("::1", "::1"), ("hö", "hö")])
def test_an_address_may_stand_in_brackets(
    written: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUREL_HTTP__HOST", written)
    assert load().http.host == host
