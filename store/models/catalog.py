"""The catalog's tables: types, levels and counters, its versions, and what follows from one."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Dated, Identified, Json, one_of
from store.values.catalog import Category, CounterKind, JobState, OnchainPolicy, Rarity
from store.values.shadows import RebuildState


class NFTType(Identified, Dated, Base):
    """A kind of badge."""

    __tablename__ = "nft_type"
    __table_args__ = (
        one_of("category", Category),
        one_of("default_onchain_policy", OnchainPolicy),
        one_of("onchain_min_rarity", Rarity),
    )

    code: Mapped[str] = mapped_column(String(64), unique=True)
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str]
    category: Mapped[str] = mapped_column(String(32))
    base_image_url: Mapped[str]
    is_onchain_capable: Mapped[bool]
    default_onchain_policy: Mapped[str] = mapped_column(String(32))
    metadata_schema: Mapped[Json]
    onchain_min_rarity: Mapped[str] = mapped_column(
        String(16), server_default=Rarity.RARE.value
    )  # +
    i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))  # +


class NFTLevelRule(Identified, Dated, Base):
    """A step of a type, with its conditions."""

    __tablename__ = "nft_level_rule"
    __table_args__ = (
        UniqueConstraint("type_id", "level"),
        UniqueConstraint("type_id", "order"),
        one_of("rarity", Rarity),
        one_of("onchain_policy", OnchainPolicy, nullable=True),
        CheckConstraint("level >= 1", name="level"),
    )

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"))
    level: Mapped[int]
    title: Mapped[str] = mapped_column(String(255))
    description: Mapped[str]
    rarity: Mapped[str] = mapped_column(String(16))
    image_url: Mapped[str | None]
    conditions: Mapped[Json]
    auto_mint_onchain: Mapped[bool]
    order: Mapped[int]
    onchain_policy: Mapped[str | None] = mapped_column(String(32))  # + null = the type's
    i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))  # +


class CounterDefinition(Base):
    """+ A counter of the catalog.

    The small id keeps progress_member narrow and never changes its meaning.
    """

    __tablename__ = "counter_definition"
    __table_args__ = (one_of("kind", CounterKind),)

    # As catalog_version.id: a smallint would run out by what is rolled back.
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    # A shadow's begins with a sign (store/values/shadows.py).
    name: Mapped[str] = mapped_column(String(65), unique=True)
    kind: Mapped[str] = mapped_column(String(16))
    event_type: Mapped[str] = mapped_column(String(128))
    field: Mapped[str | None] = mapped_column(String(64))
    filter: Mapped[Json | None]
    undo_event_type: Mapped[str | None] = mapped_column(String(128))
    undo_field: Mapped[str | None] = mapped_column(String(64))
    # Some event has added to it. Written by the first batch that counts one: to look for it among
    # all users' progress would keep batches waiting.
    has_counted: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    # catalog_version.id, since which the counter is there without a pause: events whose
    # processed_event.first_version is smaller are not in it.
    first_version: Mapped[int]


class CatalogVersion(Base):
    """+ A catalog as it was applied; one is current.

    A batch locks the current row FOR SHARE first.
    """

    __tablename__ = "catalog_version"
    __table_args__ = (
        Index(
            "catalog_version_one_current_key",
            "is_current",
            unique=True,
            postgresql_where=text("is_current"),
        ),
    )

    # The greatest before it and one, under the table's lock: a sequence would leave gaps where an
    # apply is rolled back.
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    content_hash: Mapped[bytes]  # SHA-256 over the canonical JSON of `document`
    document: Mapped[Json]  # event types, counters, types, levels: what the worker evaluates
    is_current: Mapped[bool] = mapped_column(Boolean)
    applied_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Rebuild(Base):
    """+ Counters that are computed anew beside those in force; at most one rebuild is open."""

    __tablename__ = "rebuild"
    __table_args__ = (
        one_of("state", RebuildState),
        Index(
            "rebuild_one_open_key",
            text("(true)"),
            unique=True,
            postgresql_where=text("state <> 'done'"),
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    # From this one on batches count both: sources fill what was counted before it.
    version: Mapped[int] = mapped_column(ForeignKey("catalog_version.id"))
    state: Mapped[str] = mapped_column(String(16))
    counters: Mapped[Json]  # store.rebuilds.RebuiltCounter: ids, and since when they count
    # Of the sources that were given last, and how far they are filled in.
    digest: Mapped[bytes | None]
    next_slice: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    filled: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # events
    # Events that no source brought, when the two changed places.
    accepted: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class RebuildEvent(Base):
    """+ An event that the open rebuild has filled in."""

    __tablename__ = "rebuild_event"

    event_key: Mapped[UUID] = mapped_column(primary_key=True)


class CatalogJob(Base):
    """+ What follows from a catalog version for users and badges, and how far it is done.

    Written with the version, worked off in slices afterwards; at most one is open.
    """

    __tablename__ = "catalog_job"
    __table_args__ = (
        one_of("state", JobState),
        Index(
            "catalog_job_one_open_key",
            text("(true)"),
            unique=True,
            postgresql_where=text("state IN ('counters', 'levels', 'metadata')"),
        ),
    )

    version: Mapped[int] = mapped_column(
        ForeignKey("catalog_version.id"), primary_key=True, autoincrement=False
    )
    work: Mapped[Json]  # store.catalog_jobs.CatalogWork: which types, which counters
    silent: Mapped[bool] = mapped_column(Boolean)  # no message to others about what it gives
    no_mint: Mapped[bool] = mapped_column(Boolean)  # nor a token by itself
    state: Mapped[str] = mapped_column(String(16))
    # The last user (or badge, for metadata) that is done in this state; null at its begin.
    done_to: Mapped[UUID | None]
    users: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))  # looked at for levels
    awarded: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    raised: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    rewritten: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    # Each slice moves it: an open job that stands still has lost its owner.
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
