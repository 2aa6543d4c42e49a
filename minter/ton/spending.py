"""What a transaction took from an account for good, as tonlib shows transactions (raw.transaction).

An account's balance alone does not tell: a highload wallet sends itself money with each message,
and it is paid into meanwhile.
"""

import base64

from ton_core.boc.cell import Cell

from minter.ton import tokens
from minter.ton.global_config import Json

# The body of what comes back begins with it.
_BOUNCED = 0xFFFFFFFF


def spent_nano(transaction: Json) -> int:
    """Return fees and what was sent to others; below zero where something sent before came back.

    What others pay in changes nothing.
    """
    own = transaction["address"]["account_address"]
    sent_nano = sum(
        int(message["value"])
        for message in transaction["out_msgs"]
        if message["destination"]["account_address"] != own
    )
    came = transaction.get("in_msg")
    back_nano = int(came["value"]) if came is not None and _is_bounced(came) else 0
    return int(transaction["fee"]) + sent_nano - back_nano


def _is_bounced(message: Json) -> bool:
    body = message.get("msg_data", {}).get("body")
    if not body:
        return False
    try:
        part = Cell.one_from_boc(base64.b64decode(body)).begin_parse()
    except tokens.UNREADABLE:
        return False
    return part.remaining_bits >= 32 and part.load_uint(32) == _BOUNCED
