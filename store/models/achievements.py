"""The tables of achievements, which issuers grant within a tenant."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from store.models.base import Base, Created, Dated, Identified, Json, one_of
from store.values.achievements import AchievementStatus, Visibility


class AchievementCategory(Identified, Dated, Base):
    """A tenant's category of achievements."""

    __tablename__ = "achievement_category"
    __table_args__ = (
        UniqueConstraint("tenant_id", "slug"),
        Index(None, "tenant_id"),
        Index(None, "slug"),
    )

    tenant_id: Mapped[UUID]
    slug: Mapped[str] = mapped_column(String(64))
    name_i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    order: Mapped[int] = mapped_column(server_default=text("0"))
    is_active: Mapped[bool] = mapped_column(server_default=text("true"))


class Achievement(Identified, Dated, Base):
    """Something that a person is granted by an issuer."""

    __tablename__ = "achievement"
    __table_args__ = (
        one_of("status", AchievementStatus),
        Index(None, "tenant_id"),
        Index(None, "category_id"),
    )

    tenant_id: Mapped[UUID]
    name_i18n: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    description: Mapped[str]
    category_id: Mapped[UUID] = mapped_column(
        ForeignKey("achievement_category.id", ondelete="RESTRICT")
    )
    status: Mapped[str] = mapped_column(String(16))
    images: Mapped[Json] = mapped_column(server_default=text("'{}'"))
    created_by: Mapped[UUID]


class AchievementGrant(Identified, Created, Base):
    """An achievement granted to a person."""

    __tablename__ = "achievement_grant"
    __table_args__ = (
        one_of("visibility", Visibility),
        CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revoked"),
        Index(None, "tenant_id"),
        Index(None, "recipient_id"),
        Index(None, "issuer_id"),
        Index(
            "achievement_grant_one_standing_key",
            "achievement_id",
            "recipient_id",
            "issuer_id",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )

    tenant_id: Mapped[UUID]
    achievement_id: Mapped[UUID] = mapped_column(ForeignKey("achievement.id", ondelete="CASCADE"))
    recipient_id: Mapped[UUID]
    issuer_id: Mapped[UUID]
    reason: Mapped[str]
    visibility: Mapped[str] = mapped_column(String(16))
    revoked_at: Mapped[datetime | None]
    revoked_by: Mapped[UUID | None]


class NFTLevelAchievement(Base):
    """+ The achievement that reaching a level grants in a tenant."""

    __tablename__ = "nft_level_achievement"

    level_rule_id: Mapped[UUID] = mapped_column(ForeignKey("nft_level_rule.id"), primary_key=True)
    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    achievement_id: Mapped[UUID] = mapped_column(ForeignKey("achievement.id"))
