"""What settings are made of: durations, amounts, ports, and the base of a part of the tree."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from ops import quantities

PREFIX = "LAUREL_"


def _positive(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("must be longer than nothing")
    return value


Duration = Annotated[timedelta, BeforeValidator(quantities.duration), AfterValidator(_positive)]
# Grams, the coin of TON: to the nanogram, which is its smallest part.
Amount = Annotated[
    Decimal,
    BeforeValidator(quantities.coins),
    Field(ge=0, le=1_000_000, decimal_places=9, allow_inf_nan=False),
]
Port = Annotated[int, Field(ge=0, le=65535)]


class SettingsPart(BaseModel):
    """A part of the tree; a name that it does not have is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
