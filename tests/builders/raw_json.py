"""Records as nobody here would write them: raw JSON tokens, headers and keys, for property tests.

Each is put together from text, not from values: what a producer's own encoder may write, and what
none would.
"""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from processor.events.chunks import PlainRecord
from tests.builders.messages import ALICE

Headers = Sequence[tuple[str, bytes | None]]


@dataclass(frozen=True, slots=True)
class RawRecord:
    """Value, key and headers of a record, and the topic that it came by."""

    topic: str
    value: bytes | None
    key: bytes | None
    headers: Headers

    def at(self, offset: int) -> PlainRecord:
        """The record at an offset."""
        return PlainRecord(offset, self.value, self.key, self.headers, 1_780_000_000_000 + offset)


DEPTHS = st.sampled_from([2, 50, 600, 1_100, 100_000])
EXPONENTS = st.one_of(
    st.integers(-40, 40), st.sampled_from([308, 400, 10**6, 10**18, 10**19, 10**22, -(10**19)])
)
DIGITS = st.text("0123456789", min_size=1, max_size=40).map(
    lambda digits: digits.lstrip("0") or "0"
)


def _nested(depth: int, opening: str, closing: str) -> str:
    return opening * depth + "1" + closing * depth


NUMBERS = st.one_of(
    DIGITS,
    DIGITS.map(lambda digits: f"-{digits}"),
    st.builds("{}e{}".format, DIGITS, EXPONENTS),
    st.builds("{}.{}E{}".format, DIGITS, DIGITS, EXPONENTS),
    st.sampled_from(["-0", "0e0", "1" * 5_000, "0." + "1" * 5_000, "1e+400", "01", "NaN", "1."]),
)
STRINGS = st.one_of(
    st.text(max_size=20).map(json.dumps),
    st.text(max_size=20).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(['"\\u0000"', '"\\ud800"', '"\\\\N"', '"a\\tb\\nc"', '"' + "x" * 200 + '"']),
)
TOKENS = st.one_of(
    NUMBERS,
    STRINGS,
    st.sampled_from(["null", "true", "{}", "[]", '{"a":1,"a":2}', ""]),
    DEPTHS.map(lambda depth: _nested(depth, "[", "]")),
    DEPTHS.map(lambda depth: _nested(depth, '{"a":', "}")),
)
TIMES = st.builds(
    lambda year, day, hour, sign, zone, minute: (
        f'"{year:04d}-{day % 12 + 1:02d}-{day % 28 + 1:02d}T{hour:02d}:00:00'
        f'{sign}{zone:02d}:{minute:02d}"'
    ),
    st.sampled_from([1, 1970, 2026, 9999]),
    st.integers(0, 400),
    st.integers(0, 24),
    st.sampled_from("+-"),
    st.integers(0, 24),
    st.integers(0, 60),
)
TYPES = st.sampled_from(
    [
        ("quests", "quest.completed", ["quest_id", "rating", "duration_s", "extra"]),
        ("cities", "city.visited", ["city_id", "country", "extra"]),
        ("reviews", "review.posted", ["review_id", "stars", "length"]),
        ("partners", "partner.joined", ["partner_id"]),
        ("wallets", "wallet.linked", ["address"]),
        ("commands", "badge.revoke", ["external_id", "type_code", "reason", "extra"]),
        ("commands", "badge.mint", ["external_id", "type_code", "instance_id"]),
    ]
)
HEADERS = st.lists(
    st.tuples(
        st.one_of(
            st.sampled_from(
                ["ce_id", "ce_time", "ce_type", "ce_source", "content-type", "ce_data", "CE_ID"]
            ),
            st.text(max_size=8),
        ),
        st.one_of(st.none(), st.binary(max_size=12), st.just(b"application/json")),
    ),
    max_size=3,
)
KEYS = st.one_of(st.none(), st.binary(max_size=20))


@st.composite
def records(draw: st.DrawFn) -> RawRecord:
    """A record of one of the contract's types in which a few tokens are not what they should be."""
    topic, kind, names = draw(TYPES)
    fields = {name: draw(st.one_of(TOKENS, st.just(f'"{name}-1"'))) for name in names}
    data = ",".join(f'"{name}":{token}' for name, token in fields.items() if token)
    envelope = {
        "specversion": '"1.0"',
        "id": draw(st.one_of(STRINGS, st.integers(0, 10**6).map(lambda n: f'"e{n}"'))),
        "source": draw(st.one_of(st.just('"/quest-service"'), STRINGS)),
        "type": f'"{kind}"',
        "subject": draw(st.one_of(st.just(f'"{ALICE}"'), TOKENS)),
        "time": draw(st.one_of(st.just('"2026-11-23T08:00:00Z"'), TIMES)),
        "data": "{" + data + "}",
    }
    match draw(st.sampled_from(["plain", "plain", "plain", "base64", "bytes", "extension"])):
        case "base64":
            held = draw(st.one_of(st.just(envelope.pop("data").encode()), st.binary(max_size=40)))
            envelope["data_base64"] = f'"{base64.b64encode(held).decode()}"'
        case "bytes":
            return RawRecord(topic, draw(st.binary(max_size=80)), draw(KEYS), draw(HEADERS))
        case "extension":
            envelope["partitionkey"] = draw(TOKENS) or "1"
    text = "{" + ",".join(f'"{name}":{token or 1}' for name, token in envelope.items()) + "}"
    value = text.encode("utf-8", "surrogatepass")
    return RawRecord(topic, value, draw(KEYS), draw(st.one_of(st.just([]), HEADERS)))
