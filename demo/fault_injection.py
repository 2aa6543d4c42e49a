"""Fault injection: two differences between chain and database, for reconcile to find and repair.

An owner destroys a token, and a row loses its token's id.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from demo import wallets
from demo.chain import ChainReader
from demo.oracle.comparison import Aspect, Difference
from demo.oracle.expected import ExpectedOutcome
from ops.clock import SYSTEM_CLOCK, Clock
from ops.errors import InvariantBroken, Transient
from sandbox.ton.accounts import user_wallet
from sandbox.ton.cells import Address, Builder
from sandbox.ton.process import TonProcess
from store import testing
from store.engine import Database
from store.inspection import BadgeRow, Snapshot
from store.values.badges import InstanceStatus

# TEP-85: for the owner alone.
_DESTROY = 0x1F04537A
_POCKET_MONEY_NANO = 10**9
_FEE_NANO = 50_000_000
_VALID = timedelta(minutes=1)
_POLL = timedelta(milliseconds=100)


class NotDestroyed(Transient):
    """The owner's message changed nothing."""

    code = "not_destroyed"


@dataclass(frozen=True, slots=True)
class Targets:
    """The two badges that faults are injected into, as they were before."""

    destroyed: BadgeRow
    token_lost: BadgeRow


def choose(expected: ExpectedOutcome, badges: Iterable[BadgeRow]) -> Targets:
    """Return two badges of different users whose tokens stand.

    Raises:
        InvariantBroken: there are no two; demo/phases.py refuses such a plan.
    """
    by_user = {
        row.user_id: row
        for row in badges
        if (str(row.user_id), row.type_code) in expected.active_tokens and row.token_id
    }
    if len(by_user) < 2:
        raise InvariantBroken("the demo needs two users with standing tokens")
    first, second, *_ = (by_user[user] for user in sorted(by_user))
    return Targets(destroyed=first, token_lost=second)


async def destroy(
    target: BadgeRow,
    travellers: int,
    ton: TonProcess,
    chain: ChainReader,
    clock: Clock = SYSTEM_CLOCK,
) -> None:
    """Let the owner of `target`'s token destroy it on chain.

    The message deploys the owner's wallet, too.

    Raises:
        NotDestroyed: the token still stands when the message has expired, by the chain's time.
    """
    numbers = (
        number for number in range(travellers) if wallets.address(number) == target.recipient
    )
    number = next(numbers, None)
    if number is None or target.token_id is None:
        raise InvariantBroken(f"the token {target.token_id} belongs to no traveller")
    wallet = user_wallet(wallets.user_index(number))
    status = await ton.fund(str(wallet.address), _POCKET_MONEY_NANO)
    valid_until = status.utime + round(_VALID.total_seconds())
    message = wallet.transfer(
        Address.parse(target.token_id),
        _FEE_NANO,
        Builder().uint(_DESTROY, 32).uint(0, 64).end(),
        seqno=0,
        valid_until=valid_until,
    )
    await chain.send(message)
    # The time is asked for before the token is looked at: one look falls behind the expiry.
    while True:
        expired = (await ton.status()).utime > valid_until
        token = await chain.token(target.token_id)
        if token is None or token.owner is None:
            return
        if expired:
            break
        await clock.sleep(_POLL)
    raise NotDestroyed(f"{target.token_id} stands, though its owner sent `destroy`")


async def drop_token_id(target: BadgeRow, database: Database) -> None:
    """Set the token id of `target`'s row to null."""
    async with database.transaction() as conn:
        if not await testing.drop_token_id(conn, target.id):
            raise InvariantBroken(f"badge {target.id} had no token id to lose")


def repair_differences(targets: Targets, before: Snapshot, after: Snapshot) -> list[Difference]:
    """Return how the badges after the repair differ from what they must be.

    The two targets are repaired, the others untouched.
    """
    gone, kept = targets.destroyed, targets.token_lost
    repaired = [
        replace(
            gone,
            status=InstanceStatus.BURNED_ONCHAIN,
            audit={**gone.audit, "burned_onchain": 1},
            outbox={**gone.outbox, "badge.burned": 1},
        ),
        replace(kept, audit={**kept.audit, "metadata_updated": 1}),
    ]
    expected = {row.id: row for row in (*before.badges, *repaired)}
    found = {row.id: row for row in after.badges}
    return [
        Difference(
            Aspect.REPAIR, f"badge {badge_id}", *_apart(expected.get(badge_id), found.get(badge_id))
        )
        for badge_id in sorted(expected.keys() | found.keys())
        if expected.get(badge_id) != found.get(badge_id)
    ]


def _apart(expected: BadgeRow | None, found: BadgeRow | None) -> tuple[object, object]:
    """Return the fields in which two rows differ, of each."""
    if expected is None or found is None:
        return expected, found
    left, right = asdict(expected), asdict(found)
    names = [name for name in left if left[name] != right[name]]
    return {name: left[name] for name in names}, {name: right[name] for name in names}
