"""The parts of the settings' tree beside Kafka's: names, defaults, bounds, and what each means.

What must hold between two of them is refused where the tree is built (ops/settings.py).
"""

from datetime import timedelta
from decimal import Decimal
from typing import Literal

from pydantic import Field, field_validator

from ops.setting_types import (
    Amount,
    Duration,
    Port,
    SettingsPart,
    can_be_host,
)

_DAY = timedelta(days=1)
_GIBIBYTE = 1024**3


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
    writers: int = Field(
        2,
        ge=1,
        le=8,
        description="batches at the same time, each of other partitions; one where the topics "
        "differ in how many partitions they have",
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
        description="a minter's turn, a backfill or a command that stands still for this long "
        "ends the process; of a worker, its event loop; `db upgrade` alone may take its time",
    )
