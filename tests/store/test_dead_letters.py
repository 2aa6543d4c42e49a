"""Dead letters: every byte as it came, once for each record, whatever the message holds."""

import base64
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from store import dead_letters
from store.dead_letters import NewDeadLetter
from store.engine import Database
from store.values import Reason, RecordPosition

LETTER = NewDeadLetter(
    RecordPosition("laurel.quests", 3, 41),
    b"\x00key",
    b"\xff{broken",
    (),
    Reason.NOT_JSON,
    "no JSON",
)


async def append(database: Database, *letters: NewDeadLetter, cluster: str = "kafka-1") -> None:
    async with database.transaction() as conn:
        await dead_letters.append(conn, cluster, letters)


async def rows(database: Database, columns: str) -> list[tuple[Any, ...]]:
    async with database.transaction() as conn:
        found = await conn.execute(text(f'SELECT {columns} FROM dead_letter ORDER BY "offset", 1'))
        return [tuple(row) for row in found]


async def test_a_letter_keeps_place_bytes_and_reason(database: Database) -> None:
    empty = replace(LETTER, position=replace(LETTER.position, offset=42), key=None, value=None)
    await append(database)
    await append(database, LETTER, empty)
    columns = 'cluster_id, topic, partition, "offset", key, value, reason, detail'
    assert await rows(database, columns) == [
        ("kafka-1", "laurel.quests", 3, 41, b"\x00key", b"\xff{broken", Reason.NOT_JSON, "no JSON"),
        ("kafka-1", "laurel.quests", 3, 42, None, None, Reason.NOT_JSON, "no JSON"),
    ]


async def test_a_record_that_comes_again_stays_one_letter(database: Database) -> None:
    await append(database, LETTER)
    await append(database, replace(LETTER, reason=Reason.BAD_TIME))
    await append(database, LETTER, cluster="kafka-2")
    assert await rows(database, "cluster_id, reason") == [
        ("kafka-1", "not_json"),
        ("kafka-2", "not_json"),
    ]


async def test_headers_keep_their_order_repetitions_and_bytes(database: Database) -> None:
    headers = (("ce_id", b"1"), ("x", None), ("ce_id", b"\xff\x00"))
    await append(database, replace(LETTER, headers=headers))
    ((found,),) = await rows(database, "headers")
    assert [
        (name, None if content is None else base64.b64decode(content)) for name, content in found
    ] == list(headers)


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ("a\x00b", "a\\0b"),
        ("lone \ud800 surrogate", "lone \\ud800 surrogate"),
        ("ж" * 501, "ж" * 500),
        ("", ""),
    ],
)
async def test_a_detail_is_made_storable(database: Database, detail: str, expected: str) -> None:
    await append(database, replace(LETTER, detail=detail, headers=((detail, b""),)))
    assert await rows(database, "detail") == [(expected,)]
    ((headers,),) = await rows(database, "headers")
    assert headers[0][0].startswith(expected)
