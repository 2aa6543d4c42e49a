"""Dead letters: messages as they came, where they came from, and why they were rejected.

One row each, however often a message is delivered.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text

from store import exact_json
from store.engine import Connection
from store.values import Reason, RecordPosition

_DETAIL_LENGTH_MAX = 500  # characters; the bytes themselves say the rest


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A message that was rejected.

    `detail` explains `reason` to a person.
    """

    position: RecordPosition
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    reason: Reason
    detail: str


APPEND = text("""
    INSERT INTO dead_letter (cluster_id, topic, partition, "offset", key, value, headers,
                             reason, detail)
    SELECT :cluster_id, listed.*
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                  CAST(:keys AS bytea[]), CAST(:values AS bytea[]), CAST(:headers AS jsonb[]),
                  CAST(:reasons AS text[]), CAST(:details AS text[])) AS listed
        -- A record that is delivered again, by Kafka or a file, is the same letter.
        ON CONFLICT DO NOTHING
""")


async def append(conn: Connection, cluster_id: str, letters: Sequence[NewDeadLetter]) -> None:
    """Write `letters`; a message that is there already stays as it is."""
    if not letters:
        return
    await conn.execute(
        APPEND,
        {
            "cluster_id": cluster_id,
            "topics": [letter.position.topic for letter in letters],
            "partitions": [letter.position.partition for letter in letters],
            "offsets": [letter.position.offset for letter in letters],
            "keys": [letter.key for letter in letters],
            "values": [letter.value for letter in letters],
            "headers": [_headers(letter.headers) for letter in letters],
            "reasons": [letter.reason.value for letter in letters],
            "details": [_storable(letter.detail)[:_DETAIL_LENGTH_MAX] for letter in letters],
        },
    )


def _headers(headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Return `[[name, base64 or null], ...]` in order: bytes are not always text."""
    return exact_json.dumped(
        [
            [_storable(name), None if content is None else base64.b64encode(content).decode()]
            for name, content in headers
        ]
    )


def _storable(words: str) -> str:
    # PostgreSQL's text holds neither NUL nor lone surrogates; both may come from the message
    # itself.
    return words.replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()
