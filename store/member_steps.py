"""progress_member for who only asks: what members would change, nothing written.

Read-only: no lock, no temporary table, so that a hot standby answers as well. What counting writes
is said in store/counting.py, and tests hold both equal.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from sqlalchemy import text

from store.binary_format import UuidArray
from store.counting import UserMember
from store.engine import Connection

# Of members that one statement asks for.
_ASKED_MAX = 20_000

FLAGS = text("""
    SELECT number, old.posted, old.undone
      FROM unnest(CAST(:users AS uuid[]), CAST(:counters AS smallint[]), CAST(:members AS text[]))
           WITH ORDINALITY AS asked (user_id, counter_id, member, number)
           JOIN progress_member AS old USING (user_id, counter_id, member)
""")


async def steps(conn: Connection, members: Iterable[UserMember]) -> Counter[tuple[bytes, int]]:
    """Return what members would add to each user's counter; they may also take something away."""
    found: Counter[tuple[bytes, int]] = Counter()
    left = iter(members)
    while part := list(islice(left, _ASKED_MAX)):
        flags = await _flags(conn, part)
        for number, (user, counter_id, _, posted, undone) in enumerate(part, 1):
            was_posted, was_undone = flags.get(number, (False, False))
            is_counted = (posted or was_posted) and not (undone or was_undone)
            step = is_counted - (was_posted and not was_undone)
            if step:
                found[user, counter_id] += step
    return found


async def _flags(conn: Connection, members: Sequence[UserMember]) -> dict[int, tuple[bool, bool]]:
    """Return of the members that are known whether they are posted and undone, by their numbers."""
    parameters = {
        "users": UuidArray([user.hex() for user, *_ in members]),
        "counters": [counter_id for _, counter_id, *_ in members],
        "members": [member for _, _, member, *_ in members],
    }
    rows = await conn.execute(FLAGS, parameters)
    return {row.number: (row.posted, row.undone) for row in rows}
