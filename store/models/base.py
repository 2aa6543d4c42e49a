"""What all tables share: names of constraints, PostgreSQL's types for Python's, common columns."""

from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, LargeBinary, MetaData, Text, func
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from store.ids import ordered_id

Json = dict[str, Any]


class Base(DeclarativeBase):
    """Naming and types shared by all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map: ClassVar = {
        UUID: postgresql.UUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        Json: JSONB,
        str: Text,
        bytes: LargeBinary,
    }


def one_of(column: str, enum: type[StrEnum], *, nullable: bool = False) -> CheckConstraint:
    """Return the CHECK that holds `column` to the values of `enum`."""
    values = ", ".join(f"'{member.value}'" for member in enum)
    condition = f"{column} IN ({values})"
    return CheckConstraint(
        f"{column} IS NULL OR {condition}" if nullable else condition, name=column
    )


class Identified:
    """The column `id`. Laurel's statements give it (store/ids.py), other hands leave it out."""

    id: Mapped[UUID] = mapped_column(
        primary_key=True, default=ordered_id, server_default=func.gen_random_uuid(), sort_order=-1
    )


class Created:
    """The column `created_at`."""

    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=1)


class Dated(Created):
    """The columns `created_at` and `updated_at`."""

    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), sort_order=2)
