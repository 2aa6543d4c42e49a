"""What `laurel doctor` says of the tokens' metadata."""

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from minter.checks import CHECKS
from ops.checks import CheckResult, CheckState, examine
from ops.settings import Settings
from store.engine import Database
from tests.builders.messages import with_catalog
from tests.builders.metadata_host import MetadataHost, a_metadata_host
from tests.builders.world import World, all_in, minting

METADATA = [each for each in CHECKS if each.lines == ("metadata",)]


async def said_of(settings: Settings) -> dict[str, CheckResult]:
    return {each.name: each for each in await examine(METADATA, settings)}


@pytest.fixture
async def host() -> AsyncIterator[MetadataHost]:
    async with a_metadata_host() as found:
        yield found


@pytest.fixture
def served(settings: Settings, host: MetadataHost) -> Settings:
    """A minter's settings whose metadata is served."""
    return settings.model_copy(update={"metadata_base_url": host.base_url})


async def test_before_the_first_mint_the_documents_of_the_catalogs_types_are_fetched(
    database: Database, served: Settings, host: MetadataHost
) -> None:
    await with_catalog(database)
    host.others["/metadata/explorer/collection.json"] = lambda: web.Response(status=404)
    found = await said_of(served)
    assert found["metadata"] == CheckResult("metadata", CheckState.OK, host.base_url)
    # Nobody has a token that would be blank.
    assert found["metadata explorer"].state is CheckState.WARN
    assert "/explorer/collection.json answers 404 Not Found" in found["metadata explorer"].detail
    assert "before the first token" in found["metadata explorer"].detail
    others = [each for name, each in found.items() if name != "metadata explorer"]
    assert len(others) > 1
    assert {each.state for each in others} == {CheckState.OK}


async def test_of_a_collection_its_own_document_and_that_of_a_token_are_fetched(
    world: World, served: Settings, host: MetadataHost
) -> None:
    async with minting(served):
        (badge,) = badges = await world.to_mint()
        await all_in(world, badges, "active/minted")
    item = f"/metadata/explorer/{badge.id}.json"
    found = (await said_of(served))["metadata explorer"]
    assert found.state is CheckState.OK
    assert host.asked == ["/metadata/explorer/collection.json", item]

    host.others[item] = lambda: web.Response(
        text="<html>not found</html>", content_type="text/html"
    )
    found = (await said_of(served))["metadata explorer"]
    assert found.state is CheckState.FAIL
    assert f"{badge.id}.json answers with a page for people" in found.detail

    host.others[item] = lambda: web.Response(status=404)
    found = (await said_of(served))["metadata explorer"]
    assert found.state is CheckState.FAIL
    assert f"{badge.id}.json answers 404 Not Found. Wallet apps show blank" in found.detail

    del host.others[item]
    host.document = {"name": "Explorer"}
    found = (await said_of(served))["metadata explorer"]
    assert found.state is CheckState.WARN
    assert "no image" in found.detail


async def test_what_nobody_serves_on_the_local_network_is_not_fetched(settings: Settings) -> None:
    (line,) = (await said_of(settings)).values()
    assert line.state is CheckState.OK
    assert line.detail == (
        "https://badges.example/metadata: the local network's, and nobody serves it"
    )
