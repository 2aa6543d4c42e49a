"""A document is held against what wallet apps show of it (TEP-64)."""

import json

import pytest
from aiohttp import ClientSession, web

from minter.published_metadata import Document, NotPublished, fetch, lack, refusal
from tests.builders.metadata_host import SOUND, a_metadata_host

URL = "https://badges.mine/metadata/explorer/collection.json"


def a_document(content: object, content_type: str = "application/json") -> Document:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Document(URL, content_type, body)


def test_a_sound_document_lacks_nothing() -> None:
    for image in ("https://a/b.png", "ipfs://x/y", "data:image/png;base64,AA=="):
        document = a_document(SOUND | {"image": image, "attributes": []})
        assert (refusal(document), lack(document)) == (None, None)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (a_document(b"<html>", "text/html"), "a page for people (text/html), and no JSON"),
        (a_document(b"{", "application/json"), "application/json, which is no JSON"),
        (a_document(b"\xff\xfe\x00", "text/plain"), "text/plain, which is no JSON"),
        (a_document(b"[" * 100_000), "no JSON"),
        (a_document([SOUND]), "is JSON, and no object"),
        (a_document({"description": "d"}), "has no name"),
        (a_document(SOUND | {"name": "  "}), "has no name"),
        (a_document(SOUND | {"name": 7}), "has no name"),
    ],
)
def test_what_no_wallet_app_can_show_is_refused(document: Document, words: str) -> None:
    said = refusal(document)
    assert said is not None
    assert said.startswith(URL)
    assert words in said


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (a_document({"name": "n"}), "no description, and no image"),
        (a_document(SOUND | {"image": "explorer.png"}), "no image with an address of its own"),
        (a_document(SOUND, "text/plain"), "the type text/plain in place of application/json"),
    ],
)
def test_what_would_look_poor_is_named(document: Document, words: str) -> None:
    assert refusal(document) is None
    assert words in (lack(document) or "")


@pytest.mark.integration
async def test_what_answers_is_fetched_and_redirects_are_followed() -> None:
    async with a_metadata_host() as host, ClientSession() as session:
        host.others["/metadata/moved.json"] = lambda: web.Response(
            status=302, headers={"Location": f"{host.base_url}/here.json"}
        )
        found = await fetch(session, f"{host.base_url}/moved.json")
        assert (found.content_type, json.loads(found.body)) == ("application/json", SOUND)
        assert host.asked == ["/metadata/moved.json", "/metadata/here.json"]


@pytest.mark.integration
async def test_what_does_not_answer_with_a_document_says_what_it_answers() -> None:
    async with a_metadata_host() as host, ClientSession() as session:
        host.others["/metadata/gone.json"] = lambda: web.Response(status=404)
        host.others["/metadata/round.json"] = lambda: web.Response(
            status=302, headers={"Location": f"{host.base_url}/round.json"}
        )
        with pytest.raises(NotPublished, match=r"gone[.]json answers 404 Not Found"):
            await fetch(session, f"{host.base_url}/gone.json")
        with pytest.raises(NotPublished, match=r"round[.]json cannot be fetched: "):
            await fetch(session, f"{host.base_url}/round.json")
    async with ClientSession() as session:
        with pytest.raises(NotPublished, match="cannot be fetched: "):
            await fetch(session, "http://127.0.0.1:9/metadata/any.json")


@pytest.mark.integration
async def test_of_an_endless_answer_some_is_read() -> None:
    async with a_metadata_host() as host, ClientSession() as session:
        host.others["/metadata/film"] = lambda: web.Response(body=b" " * 3_000_000)
        found = await fetch(session, f"{host.base_url}/film")
    assert len(found.body) < 1_000_000
