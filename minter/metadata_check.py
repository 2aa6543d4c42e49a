"""Is the tokens' metadata where it has to be, and is it served: a check of `laurel doctor`."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from aiohttp import ClientSession

from minter import published_metadata
from minter.inspection import asked
from minter.published_metadata import NotPublished
from minter.startup import collections_elsewhere, metadata_base, refuse_elsewhere
from minter.ton import metadata_uris
from minter.ton.global_config import read_config
from ops.checks import CheckResult, Lines, Said, attempt, fail, warn
from ops.settings import Settings
from store import catalogs, chain, live_state
from store.chain import Collection
from store.engine import Connection
from store.values.names import TypeCode

# Documents fetched at a time, and types that a person reads of.
_FETCHED_AT_ONCE, _TYPES_MAX = 4, 50
# A collection's document and an item's, one after the other.
_OF_TWO = timedelta(seconds=20)
# Before the first token nobody looks; afterwards each look at it shows nothing.
_EARLY = "Serve the documents there (TEP-64) before the first token: wallet apps show them."
_LATE = "Wallet apps show blank tokens: serve the documents there (TEP-64)."


async def look(settings: Settings) -> Lines:
    """Tell the address, and of each type whether its documents can be shown by wallet apps."""
    base_url = metadata_base(settings, read_config(Path(settings.need("ton_config"))))
    collections, newest = await asked(settings, _published) or ((), {})
    # A minter forgets those that are not on chain, and makes them anew.
    on_chain = [each for each in collections if each.deployed_at is not None]
    refuse_elsewhere(collections_elsewhere(on_chain, base_url), base_url)
    if settings.metadata_base_url is None:
        yield CheckResult.of("metadata", f"{base_url}: the local network's, and nobody serves it")
        return
    yield CheckResult.of("metadata", base_url)
    documents = {each.type_code: _uris(each, newest.get(each.id)) for each in on_chain}
    if not documents:
        codes = await asked(settings, _types) or ()
        documents = {code: [metadata_uris.collection_uri(base_url, code)] for code in codes}
    room = asyncio.Semaphore(_FETCHED_AT_ONCE)
    async with ClientSession() as session:

        async def served(code: TypeCode, uris: Sequence[str]) -> CheckResult:
            async with room:
                question = _served(session, uris, is_seen=bool(on_chain))
                return await attempt(f"metadata {code}", question, _OF_TWO)

        listed = sorted(documents.items())[:_TYPES_MAX]
        for line in await asyncio.gather(*(served(*each) for each in listed)):
            yield line


def _uris(collection: Collection, badge: UUID | None) -> list[str]:
    """Return the addresses of a collection's own document, and of one of its tokens'."""
    item = [] if badge is None else [collection.item_prefix + metadata_uris.item_suffix(badge)]
    return [collection.content_uri, *item]


async def _published(conn: Connection) -> tuple[Sequence[Collection], Mapping[UUID, UUID]]:
    return await chain.collections(conn), await live_state.newest_tokens(conn)


async def _types(conn: Connection) -> Sequence[TypeCode]:
    found = await catalogs.current(conn)
    return () if found is None else [each.code for each in found.types if each.is_onchain_capable]


async def _served(session: ClientSession, uris: Sequence[str], *, is_seen: bool) -> Said:
    """Return whether wallet apps can show each of the documents.

    `is_seen`: there are tokens, whose owners look.
    """
    lacks = []
    for uri in uris:
        try:
            document = await published_metadata.fetch(session, uri)
        except NotPublished as error:
            return fail(f"{error}. {_LATE}") if is_seen else warn(f"{error}. {_EARLY}")
        if (refused := published_metadata.refusal(document)) is not None:
            return fail(f"{refused}. {_LATE}") if is_seen else warn(f"{refused}. {_EARLY}")
        if (lack := published_metadata.lack(document)) is not None:
            lacks.append(lack)
    return warn(f"{'; '.join(lacks)}.") if lacks else ", ".join(uris)
