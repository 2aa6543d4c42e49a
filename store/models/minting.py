"""The tables of minting: the queue and its history, wallets, collections and signed messages."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Dated, Identified, Json, one_of
from store.values.minting import (
    HoldReason,
    MessageKind,
    MessageStatus,
    TaskEvent,
    TaskOperation,
    TaskStatus,
)


class NFTMintQueue(Identified, Dated, Base):
    """A task for the chain: mint or burn one instance's token."""

    __tablename__ = "nft_mint_queue"
    __table_args__ = (
        one_of("status", TaskStatus),
        one_of("operation", TaskOperation),
        one_of("hold_reason", HoldReason, nullable=True),
        CheckConstraint("hold_reason IS NULL OR status = 'pending'", name="held_pending"),
        CheckConstraint("(lease_token IS NULL) = (lease_expires_at IS NULL)", name="lease"),
        CheckConstraint("status <> 'sent' OR chain_message_id IS NOT NULL", name="sent_message"),
        CheckConstraint(
            "operation <> 'mint' OR status NOT IN ('sent', 'confirmed')"
            " OR (token_index IS NOT NULL AND recipient IS NOT NULL)",
            name="assigned",
        ),
        Index(
            "nft_mint_queue_one_open_key",
            "nft_instance_id",
            "operation",
            unique=True,
            postgresql_where=text("status IN ('pending', 'sent')"),
        ),
        Index(
            "nft_mint_queue_token_index_key",
            "chain_collection_id",
            "token_index",
            unique=True,
            postgresql_where=text("operation = 'mint' AND token_index IS NOT NULL"),
        ),
        Index(
            "nft_mint_queue_due_idx",
            "type_id",
            "operation",
            "priority",
            "run_after",
            postgresql_where=text("status = 'pending' AND hold_reason IS NULL"),
        ),
        Index(
            "nft_mint_queue_held_idx",
            "hold_reason",
            "created_at",
            "id",
            postgresql_where=text("hold_reason IS NOT NULL"),
        ),
        Index(
            "nft_mint_queue_failed_burn_idx",
            "nft_instance_id",
            postgresql_where=text("status = 'failed' AND operation = 'burn'"),
        ),
        Index(None, "chain_message_id"),
        Index(None, "nft_instance_id"),
    )

    nft_instance_id: Mapped[UUID] = mapped_column(ForeignKey("nft_instance.id"))
    type_id: Mapped[UUID]  # + the badge's, written by a trigger
    status: Mapped[str] = mapped_column(String(16), server_default=TaskStatus.PENDING.value)
    retry_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_error: Mapped[str | None]
    operation: Mapped[str] = mapped_column(String(16), server_default=TaskOperation.MINT.value)  # +
    recipient: Mapped[str | None]  # + the owner's raw address, written at the first signature
    chain_collection_id: Mapped[UUID | None] = mapped_column(ForeignKey("chain_collection.id"))  # +
    token_index: Mapped[int | None] = mapped_column(BigInteger)  # + of a burn: the token's
    chain_message_id: Mapped[UUID | None] = mapped_column(
        ForeignKey("chain_message.id")
    )  # + the message in force
    run_after: Mapped[datetime] = mapped_column(server_default=func.now())  # +
    hold_reason: Mapped[str | None] = mapped_column(String(16))  # +
    priority: Mapped[int] = mapped_column(
        SmallInteger, server_default=text("0")
    )  # + lower goes first
    lease_token: Mapped[UUID | None]  # +
    lease_expires_at: Mapped[datetime | None]  # +


class MintTaskEvent(Base):
    """+ A task's own history, one row a decision that changed it."""

    __tablename__ = "mint_task_event"
    __table_args__ = (
        one_of("from_status", TaskStatus, nullable=True),
        one_of("to_status", TaskStatus),
        one_of("event", TaskEvent),
        Index(None, "task_id"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("nft_mint_queue.id"))
    event: Mapped[str] = mapped_column(String(32))
    from_status: Mapped[str | None] = mapped_column(String(16))
    to_status: Mapped[str] = mapped_column(String(16))
    details: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class UserWallet(Base):
    """+ When a user linked and unlinked an address, by the events' own times.

    The latest link that stands receives.
    """

    __tablename__ = "user_wallet"
    __table_args__ = (
        CheckConstraint("linked_at IS NOT NULL OR unlinked_at IS NOT NULL", name="seen"),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    address: Mapped[str] = mapped_column(primary_key=True)
    linked_at: Mapped[datetime | None]
    unlinked_at: Mapped[datetime | None]
    # the form in which it was linked last says: not for the main network
    test_only: Mapped[bool] = mapped_column(server_default=text("false"))


class ChainWallet(Identified, Dated, Base):
    """+ The minting wallet (highload-wallet-v3) on one network.

    A database belongs to one network for ever.
    """

    __tablename__ = "chain_wallet"
    __table_args__ = (
        CheckConstraint("length(zero_state_hash) = 32 AND length(public_key) = 32", name="hashes"),
        CheckConstraint(
            "(shut_reason IS NULL) = (shut_until IS NULL)"
            " AND (shut_reason IS NOT NULL OR NOT shut_needs_repair)"
            " AND (shut_reason IS NOT NULL OR NOT repair_asked)",
            name="shut",
        ),
        # One row: the index over a constant refuses a second network or key.
        Index("chain_wallet_single_key", text("(true)"), unique=True),
    )

    address: Mapped[str]
    public_key: Mapped[bytes]
    subwallet_id: Mapped[int] = mapped_column(BigInteger)
    timeout_s: Mapped[int]
    zero_state_hash: Mapped[bytes]  # the network's root hash of masterchain block 0
    next_query_seq: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # maps to (shift, bit), see minter/ton/highload_wallet.py
    seqno_seen: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # newest masterchain block ever seen
    deployed_at: Mapped[datetime | None]
    # Which database on which server this is: what a restored or promoted one differs in.
    database_epoch: Mapped[str | None]
    server_started_at: Mapped[datetime | None]
    # Logical time: every transaction of the wallet up to it was held against the messages here.
    accounted_lt: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    # Nothing is signed while there is a reason, and not before the chain's time passes `until`.
    shut_reason: Mapped[str | None]
    shut_until: Mapped[datetime | None]
    shut_needs_repair: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    repair_asked: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))


class ChainCollection(Identified, Dated, Base):
    """+ The contract that a type's tokens belong to."""

    __tablename__ = "chain_collection"
    __table_args__ = (CheckConstraint("next_index >= 0", name="next_index"),)

    type_id: Mapped[UUID] = mapped_column(ForeignKey("nft_type.id"), unique=True)
    chain_wallet_id: Mapped[UUID] = mapped_column(ForeignKey("chain_wallet.id"))
    address: Mapped[str] = mapped_column(unique=True)
    content_uri: Mapped[str]
    item_prefix: Mapped[str]  # the common part of the items' metadata URIs
    next_index: Mapped[int] = mapped_column(
        BigInteger, server_default=text("0")
    )  # the next index to assign
    stopped_reason: Mapped[str | None]  # nothing is signed before a person has looked
    # Why nothing is minted into it: chain and database count differently.
    breaker: Mapped[str | None]
    # Badges that tokens name and that were accepted as unknown: never to be minted again.
    accepted_badges: Mapped[list[UUID]] = mapped_column(
        postgresql.ARRAY(Uuid), server_default=text("'{}'")
    )
    deployed_at: Mapped[datetime | None]


class ChainMessage(Identified, Dated, Base):
    """+ A signed external message.

    Committed before it is sent, resent byte for byte until it is resolved.
    """

    __tablename__ = "chain_message"
    __table_args__ = (
        one_of("kind", MessageKind),
        one_of("status", MessageStatus),
        UniqueConstraint("chain_wallet_id", "query_seq"),
        Index(None, "message_hash"),
        Index(None, "chain_collection_id", "query_seq"),
        Index(
            "chain_message_one_unresolved_key",
            "chain_collection_id",
            unique=True,
            postgresql_where=text(f"status = '{MessageStatus.UNRESOLVED}'"),
        ),
    )

    chain_wallet_id: Mapped[UUID] = mapped_column(ForeignKey("chain_wallet.id"))
    chain_collection_id: Mapped[UUID] = mapped_column(ForeignKey("chain_collection.id"))
    kind: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(16), server_default=MessageStatus.UNRESOLVED.value)
    query_seq: Mapped[int] = mapped_column(BigInteger)
    signed_at: Mapped[datetime]  # created_at inside the message: chain time, less a margin
    valid_until: Mapped[datetime]  # chain time after which the wallet refuses it
    boc: Mapped[bytes]
    message_hash: Mapped[bytes]  # TEP-467, normalised external-message hash
    send_count: Mapped[int] = mapped_column(server_default=text("0"))
    last_sent_at: Mapped[datetime | None]
    settled_seqno: Mapped[int | None] = mapped_column(BigInteger)  # the block that decided it


class CollectionDecision(Base):
    """+ What operators let go on after a stop: which type's collection, who, when and why."""

    __tablename__ = "collection_decision"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    type_code: Mapped[str] = mapped_column(String(64))
    stopped_reason: Mapped[str]  # why it was stopped
    reason: Mapped[str | None]
    actor: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
