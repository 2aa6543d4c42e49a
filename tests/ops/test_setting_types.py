"""What settings are made of refuses what makes no sense."""

from datetime import timedelta
from decimal import Decimal

import pytest
from pydantic import ValidationError

from ops.setting_types import Amount, Duration, Port, SettingsPart


class Example(SettingsPart):
    pause: Duration = timedelta(seconds=1)
    price: Amount = Decimal(1)
    port: Port = 0


def test_they_are_read_as_people_write_them() -> None:
    found = Example.model_validate({"pause": "90s", "price": "0.05", "port": "9464"})
    assert found == Example(pause=timedelta(seconds=90), price=Decimal("0.05"), port=9464)


@pytest.mark.parametrize(
    ("name", "value"),
    [("pause", "0s"), ("price", "-1"), ("price", "0.0000000001"), ("port", "65536"), ("prot", "1")],
)
def test_what_makes_no_sense_is_refused_and_not_repeated(name: str, value: str) -> None:
    with pytest.raises(ValidationError, match=name) as caught:
        Example.model_validate({name: value})
    assert "input_value" not in str(caught.value)
