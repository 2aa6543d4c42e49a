"""What settings are made of: durations, amounts, ports, hosts, and the base of a part of the tree.

Every number has two bounds: a value that PostgreSQL, Kafka or the wallet's contract cannot hold is
refused at the start, by its name, not by a traceback later on.
"""

import ipaddress
from datetime import timedelta
from decimal import Decimal
from typing import Annotated, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from ops import quantities

PREFIX = "LAUREL_"
# RFC 1035, 2.3.4; what looks names up raises something else entirely.
_NAME_LENGTH_MAX, _LABEL_LENGTH_MAX = 253, 63
_PORT_MAX = 65_535
# PostgreSQL is told whole milliseconds, and takes none for "no limit".
_SHORTEST = timedelta(milliseconds=1)
LONGEST = timedelta(days=36_500)


def _sensible(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    if not _SHORTEST <= value <= LONGEST:
        raise ValueError("must be at least a millisecond, and at most a hundred years (36500d)")
    return value


Duration = Annotated[timedelta, BeforeValidator(quantities.duration), AfterValidator(_sensible)]
# Grams, the coin of TON: to the nanogram, which is its smallest part.
Amount = Annotated[
    Decimal,
    BeforeValidator(quantities.coins),
    Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False),
]
Port = Annotated[int, Field(ge=0, le=_PORT_MAX)]


def is_secret(field: FieldInfo) -> bool:
    """Return whether the setting's value is hidden, and may come from a file of its own."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


def can_be_host(text: str) -> bool:
    """Return whether `text` can be looked up as a host's name, or is an address of one."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        labels = text.removesuffix(".").split(".")
        return (
            text.isprintable()
            and len(text) <= _NAME_LENGTH_MAX
            and all(0 < len(label) <= _LABEL_LENGTH_MAX for label in labels)
        )
    return True


def can_be_port(text: str) -> bool:
    """Return whether `text` is the number of a port that can be connected to."""
    return text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _PORT_MAX


def as_written(value: object, *, secret: bool) -> object:
    """Return text without what a file of settings leaves around it.

    Lines of such files may end as Windows ends them. A secret may begin and end with blanks, or
    with quotes; nothing else does.

    Raises:
        ValueError: nothing is left, or quotes are.
    """
    if not isinstance(value, str):
        return value
    text = value.rstrip("\r\n") if secret else value.strip()
    if not text.strip():
        raise ValueError("is empty: give it a value, or leave it out")
    if not secret and len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        raise ValueError("has quotes around it, which are part of the value here: leave them out")
    return text


class SettingsPart(BaseModel):
    """A part of the tree; a name that it does not have is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_as_written(cls, value: object, info: ValidationInfo) -> object:
        return as_written(value, secret=is_secret(cls.model_fields[info.field_name or ""]))
