"""Why a message is rejected: one closed list of reasons, one value and one exception.

A rejected message becomes a dead letter. Reading and the rules of commands reject by the same value
(processor/events/reader.py, processor/batch/command_rules.py).
"""

from enum import StrEnum

import msgspec

# The metric label of a type that the catalog does not declare.
UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a message became a dead letter; a metric label, and what an operator filters by."""

    NO_VALUE = "no_value"
    NOT_JSON = "not_json"
    CONTENT_TYPE = "content_type"
    BAD_ENVELOPE = "bad_envelope"
    BAD_SPECVERSION = "bad_specversion"
    BAD_SUBJECT = "bad_subject"
    BAD_TENANT = "bad_tenant"
    BAD_TIME = "bad_time"
    TOO_NEW = "too_new"
    TOO_OLD = "too_old"
    BAD_TEXT = "bad_text"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_TOPIC = "wrong_topic"
    BAD_DATA = "bad_data"
    MISSING_FIELD = "missing_field"
    NULL_FIELD = "null_field"
    BAD_FIELD = "bad_field"
    BAD_ADDRESS = "bad_address"
    UNSUPPORTED_COMMAND = "unsupported_command"
    EXTERNAL_ID_CONFLICT = "external_id_conflict"
    UNKNOWN_BADGE_TYPE = "unknown_badge_type"
    NO_SUCH_BADGE = "no_such_badge"
    NOT_ACTIVE = "not_active"
    POLICY_REFUSED = "policy_refused"
    NO_TOKEN = "no_token"  # noqa: S105 - a token on chain, no secret


class ContractViolation(Exception):
    """A message does not keep to the contract; raised and caught while it is read."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """A message that becomes a dead letter, with the reason and a detail for a person.

    `type` is the event type that it was read as, `unknown` where the catalog declares none. Who
    rejects a command that was read has the command's own type beside it.
    """

    reason: Reason
    detail: str
    type: str = UNKNOWN
