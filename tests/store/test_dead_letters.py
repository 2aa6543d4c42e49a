"""Dead letters: every byte as it came, once for each record, whatever the message holds."""

import base64
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from store import dead_letters
from store.dead_letters import NewDeadLetter
from store.engine import Database
from store.fingerprints import fingerprint
from store.values.stream import Reason, RecordPosition

LETTER = NewDeadLetter(
    RecordPosition("laurel.quests", 3, 41),
    b"\x00key",
    b"\xff{broken",
    (),
    Reason.NOT_JSON,
    "no JSON",
)


async def append(database: Database, *letters: NewDeadLetter, cluster: str = "kafka-1") -> int:
    async with database.transaction() as conn:
        return await dead_letters.append(conn, cluster, letters)


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
    assert await append(database, LETTER) == 0
    assert await append(database, replace(LETTER, reason=Reason.BAD_TIME)) == 1
    assert await append(database, LETTER, cluster="kafka-2") == 0
    assert await rows(database, "cluster_id, reason") == [
        ("kafka-1", "not_json"),
        ("kafka-2", "not_json"),
    ]


@pytest.mark.parametrize(
    "other",
    [
        replace(LETTER, timestamp_ms=1),
        replace(LETTER, value=b"other"),
        replace(LETTER, value=None),
        replace(LETTER, key=b"other"),
        replace(LETTER, headers=(("h", b"1"),)),
    ],
)
async def test_a_record_of_a_topic_made_anew_is_another_letter(
    database: Database, other: NewDeadLetter
) -> None:
    assert await append(database, LETTER) == 0
    assert await append(database, LETTER, other) == 1
    assert await rows(database, "1") == [(1,), (1,)]


async def test_a_letter_whose_bytes_are_not_all_kept_says_what_they_were(
    database: Database,
) -> None:
    whole = b"v" * 100_000
    large = replace(LETTER, value=whole[:10], whole=fingerprint(LETTER.key, whole, ()))
    assert await append(database, LETTER, large) == 0
    assert await append(database, large) == 1
    found = await rows(database, "value_length, value, value_sha256")
    assert found == [
        (8, LETTER.value, sha256(LETTER.value or b"").digest()),
        (100_000, b"v" * 10, sha256(whole).digest()),
    ]


async def test_letters_beyond_a_statement_are_all_written(database: Database) -> None:
    letters = [
        replace(LETTER, position=replace(LETTER.position, offset=offset), value=b"v" * 10_000)
        for offset in range(1_201)
    ]
    assert len(list(dead_letters.slices(letters))) == 3
    assert await append(database, *letters) == 0
    assert await append(database, *letters) == 1_201
    assert await rows(database, "1") == [(1,)] * 1_201


@given(
    sizes=st.lists(st.integers(0, 60), max_size=20),
    bytes_max=st.integers(1, 100),
    rows_max=st.integers(1, 5),
)
def test_slices_are_bounded_and_lose_nothing(
    sizes: list[int], bytes_max: int, rows_max: int
) -> None:
    letters = [replace(LETTER, key=None, value=b"v" * size) for size in sizes]
    found = list(dead_letters.slices(letters, bytes_max, rows_max))
    assert [letter for part in found for letter in part] == letters
    assert all(0 < len(part) <= rows_max for part in found)
    assert all(len(part) == 1 or sum(each.size for each in part) <= bytes_max for part in found)


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
