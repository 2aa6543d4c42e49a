"""What members would change is what counting them changes."""

import pytest
from sqlalchemy import text

from store import member_steps
from store.engine import Database

A, B = b"a" * 16, b"b" * 16


@pytest.mark.parametrize(
    ("known", "brought", "step"),
    [
        (None, (True, False), 1),
        (None, (False, True), 0),
        (None, (True, True), 0),
        ((True, False), (True, False), 0),
        ((True, False), (False, True), -1),
        ((False, True), (True, False), 0),
        ((True, True), (True, True), 0),
    ],
)
async def test_a_member_counts_while_it_is_posted_and_not_undone(
    database: Database, known: tuple[bool, bool] | None, brought: tuple[bool, bool], step: int
) -> None:
    async with database.transaction() as conn:
        if known is not None:
            row = text("INSERT INTO progress_member VALUES (:user, 7, 'm', :posted, :undone)")
            user = A.hex()
            await conn.execute(row, {"user": user, "posted": known[0], "undone": known[1]})
        members = [(A, 7, "m", *brought), (A, 8, "m", True, False), (B, 7, "m", True, False)]
        found = await member_steps.steps(conn, members)
    assert found == {key: n for key, n in {(A, 7): step, (A, 8): 1, (B, 7): 1}.items() if n}
