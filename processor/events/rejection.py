"""Why a message is rejected: one value and one exception, over the reasons of store.values.stream.

A rejected message becomes a dead letter. Reading and the rules of commands reject by the same value
(processor/events/reader.py, processor/batch/command_rules.py). Pure.
"""

import msgspec

from store.values.stream import Reason

# The metric label of a type that the catalog does not declare.
UNKNOWN = "unknown"


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
