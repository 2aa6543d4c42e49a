"""What leaves a wallet for good."""

import base64
from typing import Any

import pytest
from ton_core.boc.builder import Builder

from minter.ton.spending import spent_nano

OWN, OTHER, NOBODY = "EQ-own", "EQ-other", ""


def message(source: str, destination: str, value: int, body: bytes = b"") -> dict[str, Any]:
    cell = Builder().store_bytes(body).end_cell()
    return {
        "source": {"account_address": source},
        "destination": {"account_address": destination},
        "value": str(value),
        "msg_data": {"@type": "msg.dataRaw", "body": base64.b64encode(cell.to_boc()).decode()},
    }


def transaction(fee: int, came: dict[str, Any] | None, *sent: dict[str, Any]) -> dict[str, Any]:
    return {
        "address": {"account_address": OWN},
        "fee": str(fee),
        "in_msg": came,
        "out_msgs": list(sent),
    }


@pytest.mark.parametrize(
    ("made", "spent"),
    [
        (transaction(3, message(NOBODY, OWN, 0), message(OWN, OWN, 200)), 3),
        (transaction(2, message(OWN, OWN, 200), message(OWN, OTHER, 50)), 52),
        (
            transaction(2, message(OWN, OWN, 200), message(OWN, OTHER, 50), message(OWN, OTHER, 7)),
            59,
        ),
        (transaction(1, message(OTHER, OWN, 1_000)), 1),
        (transaction(1, message(OTHER, OWN, 1_000, b"thanks for all")), 1),
        (transaction(1, message(OTHER, OWN, 45, b"\xff\xff\xff\xff and more")), -44),
        (transaction(1, message(OTHER, OWN, 45, b"\xff\xff")), 1),
        (transaction(1, None), 1),
    ],
    ids=[
        "to itself, and fees",
        "to another",
        "to two",
        "paid in",
        "paid in with a word",
        "came back",
        "half a word",
        "without a message",
    ],
)
def test_fees_and_what_others_got_is_spent(made: dict[str, Any], spent: int) -> None:
    assert spent_nano(made) == spent


def test_a_body_that_nobody_can_read_is_no_return() -> None:
    came = message(OTHER, OWN, 45)
    came["msg_data"]["body"] = base64.b64encode(b"nonsense").decode()
    assert spent_nano(transaction(1, came)) == 1
