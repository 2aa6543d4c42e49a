"""Dead letters: messages as they came, where they came from, and why they were rejected.

One row each, however often a message is delivered: a record of a topic that was made anew, at an
offset that had a letter before, differs in its timestamp or its bytes and is another one.
"""

from binascii import b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import text

from store import exact_json
from store.engine import Connection
from store.fingerprints import Fingerprint, Headers, fingerprint
from store.values.stream import Reason, RecordPosition

_DETAIL_LENGTH_MAX = 500  # characters; the bytes themselves say the rest


# Of one statement: what PostgreSQL and its driver hold of it is some times as much.
_STATEMENT_BYTES_MAX = 4 * 1024 * 1024
_STATEMENT_ROWS_MAX = 500
# Of a header that is empty: brackets, quotes and commas of its JSON.
_HEADER_BYTES = 10


@dataclass(frozen=True, slots=True)
class NewDeadLetter:
    """A message that was rejected.

    Args:
        position: where it lies.
        key: with value and headers, its bytes as they came; where the record is too large, how
            they begin.
        value: as above.
        headers: as above.
        reason: why it was rejected.
        detail: explains `reason` to a person.
        timestamp_ms: Kafka's; of a line of a file, its checksum.
        whole: identifies the record where its bytes are not all here.
    """

    position: RecordPosition
    key: bytes | None
    value: bytes | None
    headers: Headers
    reason: Reason
    detail: str
    timestamp_ms: int = 0
    whole: Fingerprint | None = None

    @property
    def fingerprint(self) -> Fingerprint:
        """Return what identifies the record."""
        return self.whole or fingerprint(self.key, self.value, self.headers)

    @property
    def size(self) -> int:
        """Return about how many bytes it takes to write it."""
        of_headers = sum(
            _HEADER_BYTES + len(name) + len(content or b"") for name, content in self.headers
        )
        return len(self.key or b"") + len(self.value or b"") + of_headers


APPEND = text("""
    INSERT INTO dead_letter (cluster_id, topic, partition, "offset", record_timestamp_ms,
                             key, value, value_length, value_sha256, content_sha256, headers,
                             reason, detail)
    SELECT :cluster_id, topic, partition, "offset", timestamp, key, value, length, value_hash,
           content_hash, CAST(convert_from(headers, 'UTF8') AS jsonb), reason, detail
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS int[]), CAST(:offsets AS bigint[]),
                  CAST(:timestamps AS bigint[]), CAST(:keys AS bytea[]), CAST(:values AS bytea[]),
                  CAST(:lengths AS bigint[]), CAST(:value_hashes AS bytea[]),
                  CAST(:content_hashes AS bytea[]), CAST(:headers AS bytea[]),
                  CAST(:reasons AS text[]), CAST(:details AS text[]))
        AS listed (topic, partition, "offset", timestamp, key, value, length, value_hash,
                   content_hash, headers, reason, detail)
        -- A record that is delivered again, by Kafka or a file, is the same letter.
        ON CONFLICT DO NOTHING
""")


async def append(conn: Connection, cluster_id: str, letters: Sequence[NewDeadLetter]) -> int:
    """Write `letters`; a message that is there already stays as it is.

    Return how many were there already.
    """
    written = 0
    for part in slices(letters):
        inserted = await conn.execute(APPEND, {"cluster_id": cluster_id, **columns(part)})
        written += inserted.rowcount
    return len(letters) - written


def columns(letters: Sequence[NewDeadLetter]) -> dict[str, object]:
    """Return the columns of `letters`, each as a list, for a statement that unnests them."""
    marks = [letter.fingerprint for letter in letters]
    return {
        "topics": [letter.position.topic for letter in letters],
        "partitions": [letter.position.partition for letter in letters],
        "offsets": [letter.position.offset for letter in letters],
        "timestamps": [letter.timestamp_ms for letter in letters],
        "keys": [letter.key for letter in letters],
        "values": [letter.value for letter in letters],
        "lengths": [mark.value_length for mark in marks],
        "value_hashes": [mark.value_sha256 for mark in marks],
        "content_hashes": [mark.content_sha256 for mark in marks],
        # As bytes: within a list, psycopg escapes each quote of a text by itself, and a record may
        # have thousands of headers.
        "headers": [_headers(letter.headers).encode() for letter in letters],
        "reasons": [letter.reason.value for letter in letters],
        "details": [detail(letter.detail) for letter in letters],
    }


def detail(words: str) -> str:
    """Return a detail as the table takes it."""
    return _storable(words)[:_DETAIL_LENGTH_MAX]


def slices(
    letters: Sequence[NewDeadLetter],
    bytes_max: int = _STATEMENT_BYTES_MAX,
    rows_max: int = _STATEMENT_ROWS_MAX,
) -> Iterator[list[NewDeadLetter]]:
    """Cut `letters` into what is written at once, in order; a larger one goes by itself."""
    part: list[NewDeadLetter] = []
    size = 0
    for letter in letters:
        if part and (size + letter.size > bytes_max or len(part) == rows_max):
            yield part
            part, size = [], 0
        part.append(letter)
        size += letter.size
    if part:
        yield part


def _headers(headers: Headers) -> str:
    """Return `[[name, base64 or null], ...]` in order: bytes are not always text."""
    return exact_json.dumped(
        [
            [
                _storable(name),
                None if content is None else b2a_base64(content, newline=False).decode(),
            ]
            for name, content in headers
        ]
    )


def _storable(words: str) -> str:
    # PostgreSQL's text holds neither NUL nor lone surrogates; both may come from the message
    # itself.
    if words.isascii() and "\x00" not in words:
        return words
    return words.replace("\x00", "\\0").encode("utf-8", "backslashreplace").decode()
