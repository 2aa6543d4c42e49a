from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytoniq_core.tl.generator import TlGenerator

from sandbox.ton.tl import Schema, TlError, lite_api

BLOCK = {
    "@type": "tonNode.blockIdExt",
    "workchain": -1,
    "shard": -(1 << 63),
    "seqno": 7,
    "root_hash": b"\x01" * 32,
    "file_hash": b"\x02" * 32,
}


@pytest.mark.parametrize(
    ("name", "constructor_id"),
    [
        # as every TON client writes them
        ("adnl.message.query", "b48bf97a"),
        ("adnl.message.answer", "0fac8416"),
        ("tcp.ping", "4d082b9a"),
        ("tcp.pong", "dc69fb03"),
        ("tcp.authentificate", "445bab12"),
        ("pub.ed25519", "4813b4c6"),
        ("liteServer.query", "798c06df"),
        ("liteServer.getMasterchainInfo", "89b5e62e"),
        ("liteServer.error", "bba9e148"),
        ("liteServer.signatureSet.ordinary", "f644a6e6"),
    ],
)
def test_a_constructor_has_its_well_known_id(name: str, constructor_id: str) -> None:
    assert lite_api().by_name[name].id[::-1].hex() == constructor_id


@given(st.binary(max_size=70_000))
def test_bytes_of_any_length_come_back(data: bytes) -> None:
    value = {"@type": "liteServer.query", "data": data}
    written = lite_api().serialize(value)
    assert len(written) % 4 == 0
    assert lite_api().deserialize(written) == value


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1), st.text(max_size=300))
def test_numbers_and_strings_come_back(code: int, cookie: int, message: str) -> None:
    error = {"@type": "liteServer.error", "code": code, "message": message}
    ping = {"@type": "tcp.ping", "random_id": cookie}
    assert lite_api().deserialize(lite_api().serialize(error)) == error
    assert lite_api().deserialize(lite_api().serialize(ping)) == ping


def test_pytoniq_reads_what_we_write() -> None:
    schemas = TlGenerator.with_default_schemas().generate()  # type: ignore[no-untyped-call]
    answer = {
        "@type": "liteServer.partialBlockProof",
        "complete": True,
        "from": BLOCK,
        "to": BLOCK,
        "steps": [
            {
                "@type": "liteServer.blockLinkBack",
                "to_key_block": False,
                "from": BLOCK,
                "to": BLOCK,
                "dest_proof": b"a",
                "proof": b"",
                "state_proof": b"c" * 300,
            }
        ],
    }
    read, _ = schemas.deserialize(lite_api().serialize(answer))
    assert (read["complete"], read["from"]["seqno"]) == (True, 7)
    assert (read["steps"][0]["to_key_block"], read["steps"][0]["to"]["workchain"]) == (False, -1)


def test_a_field_is_there_when_its_flag_is() -> None:
    query = {
        "@type": "liteServer.listBlockTransactions",
        "id": BLOCK,
        "mode": 7,
        "count": 10,
    }
    with_after = {
        **query,
        "mode": 7 | 128,
        "after": {"@type": "liteServer.transactionId3", "account": b"\x03" * 32, "lt": 9},
    }
    for value in (query, with_after):
        assert lite_api().deserialize(lite_api().serialize(value)) == value


def test_what_follows_an_object_is_given_back() -> None:
    wait = {"@type": "liteServer.waitMasterchainSeqno", "seqno": 5, "timeout_ms": 10}
    assert lite_api().read(lite_api().serialize(wait) + b"rest") == (wait, b"rest")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "ends too early"),
        (b"\xff\xff\xff\xff", "unknown constructor"),
        (bytes.fromhex("9a2b084d") + bytes(7), "ends too early"),
        (bytes.fromhex("9a2b084d") + bytes(12), "bytes are left"),
    ],
)
def test_malformed_bytes_are_refused(data: bytes, complaint: str) -> None:
    with pytest.raises(TlError, match=complaint):
        lite_api().deserialize(data)


@given(st.binary(max_size=300))
def test_noise_never_is_anything_but_an_object_or_an_error(noise: bytes) -> None:
    with suppress(TlError):
        lite_api().serialize(lite_api().deserialize(noise))


def test_a_hash_of_a_wrong_size_is_refused() -> None:
    with pytest.raises(TlError, match="int256 of 31 bytes"):
        lite_api().serialize({**BLOCK, "root_hash": bytes(31)})


def test_parentheses_are_deleted_before_an_id_is_computed() -> None:
    schema = Schema(
        "liteServer.libraryResult result:(vector liteServer.libraryEntry)"
        " = liteServer.LibraryResult;"
    )
    assert (
        schema.by_name["liteServer.libraryResult"].id
        == lite_api().by_name["liteServer.libraryResult"].id
    )
    assert (
        schema.by_name["liteServer.libraryResult"].fields[0].type
        == "vector<liteServer.libraryEntry>"
    )
