"""Write a run's file of messages, and split it into phases with the outcome to expect of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from demo import records
from demo.events.generator import generate
from demo.events.options import Plan
from demo.oracle.catalog import Badges
from demo.oracle.expected import ExpectedOutcome, Oracle
from demo.records import Record
from ops.clock import SYSTEM_CLOCK
from ops.errors import UsageError

# One destroys a token, another one's row loses its id.
_OWNERS_MIN = 2


@dataclass(frozen=True, slots=True)
class Phase:
    """Messages to send once the phase before is settled, and the outcome to expect after them."""

    number: int
    records: Sequence[Record]
    expected: ExpectedOutcome


def write_phases(plan: Plan, badges: Badges, path: Path) -> list[Phase]:
    """Write the messages of `plan` to `path`.

    Then read the file, and compute what is to be expected of it.

    Raises:
        UsageError: the plan is too small for two users to end with a token.
    """
    records.write(path, generate(plan, badges))
    oracle = Oracle(badges, SYSTEM_CLOCK.now())
    phases = []
    for number, some in groupby(records.read(path), key=lambda record: record.phase):
        messages = list(some)
        oracle.read_phase(messages)
        phases.append(Phase(number, messages, oracle.outcome()))
    if len({user for user, _ in phases[-1].expected.active_tokens}) < _OWNERS_MIN:
        raise UsageError(
            f"{plan.events} events of {plan.travellers} travellers earn too few tokens. "
            "Make --events larger."
        )
    return phases
