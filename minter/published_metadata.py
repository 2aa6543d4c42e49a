"""Is what tokens point to really published: fetch a document, and hold it against TEP-64.

A wallet app shows what it finds there; where it finds a page for people, or nothing, the token is
blank. Only what `laurel doctor` is asked for is fetched, and little of it.
"""

import json
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

from aiohttp import ClientError, ClientSession, ClientTimeout

_TIMEOUT = timedelta(seconds=8)
# A document is some hundred bytes; whoever answers with a film is not waited for.
_BYTES_MAX = 256 * 1024
_REDIRECTS_MAX = 5
# Where wallet apps look for a picture (TEP-64: a URI, or the picture itself as data).
_PICTURES = frozenset({"http", "https", "ipfs", "tonstorage", "data"})


@dataclass(frozen=True, slots=True)
class Document:
    """What a URL answered: its type as the server says, and its first bytes."""

    url: str
    content_type: str
    body: bytes


class NotPublished(Exception):
    """A URL does not answer with a document; the message says with what it does."""


async def fetch(session: ClientSession, url: str) -> Document:
    """Return what `url` answers, redirects followed.

    Raises:
        NotPublished: it does not answer, or with another status than 200.
    """
    try:
        async with session.get(
            url,
            max_redirects=_REDIRECTS_MAX,
            timeout=ClientTimeout(total=_TIMEOUT.total_seconds()),
            headers={"Accept": "application/json"},
        ) as answer:
            if answer.status != 200:
                raise NotPublished(f"{url} answers {answer.status} {answer.reason}")
            body = await answer.content.read(_BYTES_MAX)
            while len(body) < _BYTES_MAX and (more := await answer.content.read(_BYTES_MAX)):
                body += more
            return Document(url, answer.content_type, body)
    except TimeoutError:
        raise NotPublished(
            f"{url} does not answer within {_TIMEOUT.total_seconds():.0f} s"
        ) from None
    except (ClientError, OSError, ValueError) as error:
        said = str(error) or type(error).__name__
        raise NotPublished(f"{url} cannot be fetched: {said}") from None


def refusal(document: Document) -> str | None:
    """Return why wallet apps could show nothing of a document; None where they can."""
    url = document.url
    try:
        content = json.loads(document.body)
    except (ValueError, RecursionError):
        if document.content_type == "text/html":
            return f"{url} answers with a page for people (text/html), and no JSON"
        return f"{url} answers with {document.content_type}, which is no JSON"
    if not isinstance(content, dict):
        return f"{url} is JSON, and no object"
    name = content.get("name")
    if not isinstance(name, str) or not name.strip():
        return f"{url} has no name, which wallet apps show first"
    return None


def lack(document: Document) -> str | None:
    """Return what is missing in a document that can be shown; None where nothing is."""
    content = json.loads(document.body)
    missing = []
    if not isinstance(content.get("description"), str):
        missing.append("no description")
    image = content.get("image")
    if not isinstance(image, str) or urlsplit(image).scheme not in _PICTURES:
        missing.append("no image with an address of its own")
    if document.content_type != "application/json":
        missing.append(f"the type {document.content_type} in place of application/json")
    return f"{document.url} has {', and '.join(missing)}" if missing else None
