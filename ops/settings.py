"""Every setting of Laurel.

One frozen tree, from a TOML file and the environment, the environment winning.

Environment names are stable. The seven short ones (LAUREL_DATABASE_URL, LAUREL_KAFKA_BROKERS,
LAUREL_TON_CONFIG, LAUREL_WALLET_MNEMONIC_FILE, LAUREL_CATALOG_DIR, LAUREL_TENANT_ID,
LAUREL_METADATA_BASE_URL) are all that a set-up against real servers needs; the rest nests with `__`
(LAUREL_WORKER__BATCH_RECORDS_MAX). LAUREL_CONFIG_FILE names a TOML file with the same tree. A
secret may stand in a file that NAME_FILE names (ops/secret_files.py). A name that does not exist is
refused: a typing error must not become a default.
"""

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import (
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from ops import faults, quantities, secret_files
from ops.errors import UsageError
from ops.kafka_settings import KafkaSettings
from ops.setting_parts import (
    DatabaseSettings,
    HttpSettings,
    LifecycleSettings,
    LogSettings,
    MinterSettings,
    WorkerSettings,
)
from ops.setting_types import (
    PREFIX,
    SettingsPart,
    as_written,
    can_be_host,
    can_be_port,
    is_secret,
)

CONFIG_FILE = "LAUREL_CONFIG_FILE"
# Read by tools around Laurel, not settings of it: the fault point (ops/faults.py) and the switches
# of the tests.
_OUTSIDE = frozenset(
    {CONFIG_FILE, faults.VARIABLE, "LAUREL_KAFKA_JARS", "LAUREL_REQUIRE_ALL_PARTS"}
)
Address = Literal["database_url", "kafka_brokers", "ton_config", "wallet_mnemonic_file"]
# A name, an IPv4 address, or an IPv6 address in brackets; without a port it is Kafka's own, 9092.
_BROKER = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.%]+\])(:(?P<port>\d+))?")
DEFAULT_TENANT = UUID("00000000-0000-7000-8000-000000000001")
SYSTEM_ISSUER = UUID("00000000-0000-7000-8000-000000000002")


# What a mint takes beside what reaches the item, at the main network's prices of August 2026.
_COLLECTION_FEE = Decimal("0.0012")


class Settings(BaseSettings):
    """The tree. Build it with `load`, once, in cli.py."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    database_url: SecretStr | None = Field(
        None,
        description="postgresql://user:password@host:port/database; of several hosts (`a,b:5433`) "
        "the first that can be written to is taken",
    )
    kafka_brokers: str | None = Field(None, description="host:port, several separated by commas")
    ton_config: Path | None = Field(
        None, description="a TON global config (JSON): lite servers and the zero state"
    )
    ton_state_dir: Path | None = Field(
        None,
        description="where a minter keeps what was proven of the chain, so that the next start "
        "does not prove it anew; none = a temporary one",
    )
    wallet_mnemonic_file: Path | None = Field(
        None,
        description="a file with the 24 words of the minting wallet, which others may not read",
    )
    catalog_dir: Path | None = Field(
        None, description="a directory with the catalog's YAML files; by default the shipped one"
    )
    tenant_id: UUID = Field(DEFAULT_TENANT, description="the tenant of events without `tenantid`")
    system_issuer_id: UUID = Field(
        SYSTEM_ISSUER, description="the issuer of achievements that a level grants"
    )
    metadata_base_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#@]+[^\s?#@/]$",
        max_length=120,
        description="where the tokens' metadata is served; it goes on chain and stays there, so "
        "a minter needs it on any network but the local one",
    )
    metrics_textfile: Path | None = Field(
        None,
        description="where a command writes its metrics when it ends (node exporter's textfile "
        "collector)",
    )
    database: DatabaseSettings = DatabaseSettings()
    kafka: KafkaSettings = KafkaSettings()
    worker: WorkerSettings = WorkerSettings()
    minter: MinterSettings = MinterSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    lifecycle: LifecycleSettings = LifecycleSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the file that LAUREL_CONFIG_FILE names."""
        del env_settings, dotenv_settings, file_secret_settings
        named = os.environ.get(CONFIG_FILE)
        files = (_File(settings_cls, Path(named)),) if named else ()
        return (init_settings, _Environment(settings_cls), *files)

    @field_validator("*", mode="before")
    @classmethod
    def _is_as_written(cls, value: object, info: ValidationInfo) -> object:
        return as_written(value, secret=is_secret(cls.model_fields[info.field_name or ""]))

    @field_validator("kafka_brokers")
    @classmethod
    def _is_a_list_of_brokers(cls, value: str | None) -> str | None:
        for broker in () if value is None else value.split(","):
            found = _BROKER.fullmatch(broker.strip())
            if (
                found is None
                or not can_be_host(found["host"].strip("[]"))
                or not can_be_port(found["port"] or "9092")
            ):
                raise ValueError(
                    "it should read host:port, several separated by commas: "
                    "kafka-1:9092,kafka-2:9092; ports are from 1 to 65535."
                )
        return value

    @model_validator(mode="after")
    def _relations_hold(self) -> Self:
        minter = self.minter
        if minter.lease <= minter.send_timeout * 2:
            raise ValueError(
                "minter.lease must be longer than twice minter.send_timeout: "
                "a send must end inside its lease"
            )
        if minter.item_value - minter.item_forward < _COLLECTION_FEE:
            raise ValueError(
                f"minter.item_value must exceed minter.item_forward by at least {_COLLECTION_FEE}: "
                "the collection pays its own fee, and the item's deployment"
            )
        if self.database.lock_timeout >= self.database.statement_timeout:
            raise ValueError(
                "database.lock_timeout must be shorter than database.statement_timeout"
            )
        if self.lifecycle.stall_after <= self.database.statement_timeout * 2:
            raise ValueError(
                "lifecycle.stall_after must be longer than twice database.statement_timeout: "
                "a slow statement is no stall"
            )
        return self

    def require(self, *fields: Address) -> None:
        """Return where all of `fields` are set.

        Raises:
            UsageError: some are not, and the message names them all; a process never falls back to
                an embedded part.
        """
        missing = [field for field in fields if getattr(self, field) is None]
        if missing:
            names = ", ".join(f"{PREFIX}{field.upper()}" for field in missing)
            verb, what = ("is", "it") if len(missing) == 1 else ("are", "them")
            raise UsageError(
                f"{names} {verb} not set. Set {what}, or start everything at once with "
                "`laurel dev`.",
                setting=missing[0],
            )

    def need(self, field: Address) -> str:
        """Return the address that a process cannot do without, in clear.

        Raises:
            UsageError: it is not set.
        """
        self.require(field)
        value: SecretStr | str | Path = getattr(self, field)
        return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


class _Environment(EnvSettingsSource):
    """The environment, with secrets from the files that it names."""

    def __call__(self) -> dict[str, Any]:
        tree = super().__call__()
        for path in secret_paths():
            name = f"{PREFIX}{'__'.join(path)}_FILE"
            value = self.env_vars.get(name.lower())
            if value is not None and len(path) == 1:  # those below are in the tree
                tree[path[0] + secret_files.SUFFIX] = value
        return secret_files.resolved(tree, secret_paths(), PREFIX)


class _File(TomlConfigSettingsSource):
    """The file of LAUREL_CONFIG_FILE, with secrets of its own and from the files that it names."""

    def __init__(self, settings_cls: type[BaseSettings], path: Path) -> None:
        super().__init__(settings_cls, path)
        self._path = path

    def __call__(self) -> dict[str, Any]:
        tree = super().__call__()
        if any(_holds(tree, path) for path in secret_paths()):
            secret_files.check(self._path, CONFIG_FILE)
        return secret_files.resolved(tree, secret_paths(), PREFIX)


def _holds(tree: object, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def load(**overrides: Any) -> Settings:
    """Read the environment and the settings file.

    Raises:
        UsageError: a name is unknown (also one of LAUREL_FAULT_POINT), a value is refused, or a
            relation between two settings does not hold.
    """
    _refuse_unknown_names()
    faults.refuse_unknown()
    named = os.environ.get(CONFIG_FILE)
    if named and not Path(named).is_file():
        raise UsageError(f"{CONFIG_FILE}: there is no file {named}.", setting=CONFIG_FILE)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        lines = [
            _explained(tuple(map(str, item["loc"])), item["msg"], item["type"])
            for item in error.errors(include_input=False, include_url=False)
        ]
        raise UsageError("\n".join(lines)) from None
    except ValueError as error:  # a file that is no TOML, or a nested value that is no JSON
        raise UsageError(f"settings: {error}" + (f" (in {named})" if named else "")) from None


@dataclass(frozen=True, slots=True)
class SettingField:
    """A setting, wherever it stands in the tree.

    `name` is that of the environment, `path` that of the file.
    """

    name: str
    path: tuple[str, ...]
    field: FieldInfo

    def value(self, settings: Settings) -> object:
        """Return what `settings` have there."""
        found: object = settings
        for name in self.path:
            found = getattr(found, name)
        return found


def setting_fields() -> Iterator[SettingField]:
    """Yield every setting, in the order of the tree."""
    for name, field in Settings.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, SettingsPart):
            for inner, inner_field in part.model_fields.items():
                yield SettingField(f"{PREFIX}{name}__{inner}".upper(), (name, inner), inner_field)
        else:
            yield SettingField(f"{PREFIX}{name}".upper(), (name,), field)


@cache
def secret_paths() -> tuple[tuple[str, ...], ...]:
    """Return where in the tree the secrets are."""
    return tuple(each.path for each in setting_fields() if is_secret(each.field))


def shown(value: object) -> str:
    """Return a setting's value as a person would write it; a secret is hidden."""
    match value:
        case None:
            return "(not set)"
        case SecretStr():
            return "(set, hidden)"
        case bool():
            return str(value).lower()
        case timedelta():
            return quantities.shown_duration(value)
        case Decimal():
            return f"{value.normalize():f}"
        case _:
            return str(value)


def environment_names() -> frozenset[str]:
    """Return every environment name that `load` understands.

    Nested ones are among them, and those of files with secrets.
    """
    files = (f"{each.name}_FILE" for each in setting_fields() if is_secret(each.field))
    return frozenset(each.name for each in setting_fields()) | frozenset(files)


# What Kubernetes puts into every container about each Service of the namespace, where one is called
# `laurel` or `laurel-...` (documented there as environment variables of services and Docker links).
_SERVICE_LINK = re.compile(
    r"LAUREL_([A-Z0-9_]*_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?"
    r"|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)


def _refuse_unknown_names() -> None:
    known = environment_names() | _OUTSIDE
    unknown = sorted(
        name
        for name in os.environ
        if name.upper().startswith(PREFIX)
        and name.upper() not in known
        and not _SERVICE_LINK.fullmatch(name)
    )
    if unknown:
        lines = [f"{name}: there is no such setting.{_guess(name, known)}" for name in unknown]
        lines[-1] += " `laurel config check` lists the names."
        raise UsageError("\n".join(lines), setting=unknown[0])


def _guess(name: str, known: Collection[str]) -> str:
    close = get_close_matches(name.upper(), known, n=1)
    return f" Did you mean {close[0]}?" if close else ""


def _explained(location: tuple[str, ...], message: str, kind: str) -> str:
    if kind == "extra_forbidden":
        name = f"{PREFIX}{'__'.join(location)}".upper()
        return f"{name}: there is no such setting.{_guess(name, environment_names())}"
    said = message.removeprefix("Value error, ")
    if said.startswith(PREFIX):  # a relation between settings, which names them itself
        return said
    return f"{PREFIX}{'__'.join(location).upper()}: {said}" if location else f"settings: {said}"
