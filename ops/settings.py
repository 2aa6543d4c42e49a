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
from ops.setting_types import (
    PREFIX,
    Amount,
    Duration,
    Port,
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


_DAY = timedelta(days=1)
_GIBIBYTE = 1024**3
# What a mint takes beside what reaches the item, at the main network's prices of August 2026.
_COLLECTION_FEE = Decimal("0.0012")


class DatabaseSettings(SettingsPart):
    """How the store talks to PostgreSQL."""

    pool_size: int = Field(8, ge=1, le=1_000, description="connections a process keeps at most")
    connect_timeout: Duration = Field(
        timedelta(seconds=5),
        ge=timedelta(seconds=1),
        le=_DAY,
        description="how long a new connection may take",
    )
    statement_timeout: Duration = Field(
        timedelta(seconds=60), le=_DAY, description="how long a statement may run"
    )
    lock_timeout: Duration = Field(
        timedelta(seconds=15), le=_DAY, description="how long a statement may wait for a lock"
    )


class WorkerSettings(SettingsPart):
    """The stream: how much is taken at once, and what is too old or too new."""

    batch_records_max: int = Field(
        20_000, ge=1, le=1_000_000, description="records counted in one transaction"
    )
    chunk_records_max: int = Field(
        5_000,
        ge=1,
        le=1_000_000,
        description="records of one partition that travel through Faust as one message",
    )
    record_bytes_max: int = Field(
        1024 * 1024,
        ge=16 * 1024,
        le=64 * 1024 * 1024,
        description="key, value and headers of a record that is read; "
        "a larger one becomes a dead letter",
    )
    chunk_bytes_max: int = Field(
        4 * 1024 * 1024,
        ge=64 * 1024,
        le=_GIBIBYTE,
        description="memory that a chunk takes, beside one record",
    )
    batch_bytes_max: int = Field(
        16 * 1024 * 1024,
        ge=64 * 1024,
        le=_GIBIBYTE,
        description="memory that the chunks of a batch take",
    )
    event_retention: Duration | None = Field(
        None,
        description="`laurel db prune-events` forgets ids of events older than this, and such "
        "events are rejected from then on; none = for ever",
    )
    future_tolerance: Duration = Field(
        timedelta(minutes=10), description="events further ahead than this are rejected"
    )
    command_wait: Duration = Field(
        timedelta(hours=24),
        description="how long a command may wait for its badge or token to come, "
        "before it becomes a dead letter",
    )
    stall_after: Duration = Field(
        timedelta(minutes=2),
        ge=timedelta(seconds=1),
        description="lag without progress, or no consumer group, for this long ends the process",
    )
    retries_max: int = Field(
        8, ge=1, le=1_000, description="attempts at a batch's transaction before the worker exits"
    )


class MinterSettings(SettingsPart):
    """The mint daemon: leases, messages and the money attached to them."""

    claim_limit: int = Field(
        120, ge=1, le=250, description="tasks taken at once; a message carries at most 250 mints"
    )
    lease: Duration = Field(
        timedelta(seconds=60),
        le=_DAY,
        description="how long a minter holds a task before another may",
    )
    send_timeout: Duration = Field(
        timedelta(seconds=15),
        le=_DAY,
        description="how long handing a message to the network may take",
    )
    poll_interval: Duration = Field(
        timedelta(milliseconds=500),
        le=_DAY,
        description="pause before the queue and the chain are asked again",
    )
    message_ttl: Duration = Field(
        timedelta(minutes=5),
        ge=timedelta(seconds=1),
        le=30 * _DAY,  # the contract has 22 bits for it
        description="timeout of the highload wallet: how long a signed message can execute",
    )
    expiry_margin: Duration = Field(
        timedelta(seconds=30),
        le=30 * _DAY,
        description="beyond the expiry, before a message counts as dead",
    )
    resend_after: Duration = Field(
        timedelta(seconds=10),
        le=30 * _DAY,
        description="chain time after which the same bytes are sent again",
    )
    signatures_max: int = Field(
        5,
        ge=1,
        le=1_000,
        description="signatures a task may use up before it is parked for a person",
    )
    # The floors are what the main network's prices made of these values in August 2026, rounded up
    # (minter/ton/fees.py). At its start the minter asks for the prices of its own network as well.
    item_value: Amount = Field(
        Decimal("0.02"),
        ge=Decimal("0.0015"),
        description="Grams attached to a mint; what is left stays in the collection",
    )
    item_forward: Amount = Field(
        Decimal("0.01"),
        ge=Decimal("0.00022"),
        description="Grams of it, forwarded to the item: its rent; "
        "with less than the floor it stays uninitialised",
    )
    revoke_value: Amount = Field(
        Decimal("0.005"),
        ge=Decimal("0.0003"),
        description="Grams attached to a revocation; what is left stays in the item",
    )
    deploy_value: Amount = Field(
        Decimal("0.05"),
        ge=Decimal("0.003"),
        description="Grams attached to a collection's deployment: its rent",
    )
    balance_reserve: Amount = Field(
        Decimal(1),
        description="Grams never spent by a mint: rent and fees of the wallet itself",
    )
    reconcile_every: Duration = Field(
        timedelta(minutes=10), description="pause between two comparisons of chain and database"
    )
    lite_servers: int = Field(
        3,
        ge=1,
        le=1_000,
        description="lite servers of the global config asked for the newest block at each turn, "
        "the best ones; the others are looked at every five seconds, and take their place",
    )


class HttpSettings(SettingsPart):
    """Where /live, /ready and /metrics answer."""

    host: str = Field("127.0.0.1", description="the address to listen on")
    port: Port = Field(
        9464,
        description="the port to listen on, one for each process on a host; 0 takes any free one",
    )
    enabled: bool = Field(True, description="whether to listen at all")

    @field_validator("host")
    @classmethod
    def _can_be_host(cls, value: str) -> str:
        host = value.removeprefix("[").removesuffix("]")
        if not can_be_host(host):
            raise ValueError("is no host: write a name, or an address such as 127.0.0.1 or ::1")
        return host


class LogSettings(SettingsPart):
    """Level and format of the log on stderr."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="the least important lines that are written"
    )
    format: Literal["auto", "json", "text"] = Field(
        "auto", description="text on a terminal and JSON elsewhere, or always one of them"
    )


class LifecycleSettings(SettingsPart):
    """How a process ends."""

    drain_timeout: Duration = Field(
        timedelta(seconds=20),
        le=_DAY,
        description="after SIGTERM: the time to finish work in flight, then a hard exit",
    )
    stall_after: Duration = Field(
        timedelta(minutes=5),
        description="a minter's turn, a backfill or `catalog apply` that stands still for this "
        "long ends the process; of a worker, its event loop",
    )


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
