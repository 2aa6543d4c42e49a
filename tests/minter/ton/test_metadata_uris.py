"""A URI names its badge and nothing else, and never changes."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minter.ton import metadata_uris
from store.values.names import TypeCode

BASE = "https://badges.example/metadata"
EXPLORER = TypeCode("explorer")


def test_the_metadata_uri_names_type_and_instance() -> None:
    instance_id = UUID("0a0b0c0d-0000-4000-8000-000000000001")
    uri = metadata_uris.item_prefix(BASE, EXPLORER) + metadata_uris.item_suffix(instance_id)
    assert uri == f"{BASE}/explorer/0a0b0c0d-0000-4000-8000-000000000001.json"
    assert metadata_uris.collection_uri(BASE, EXPLORER) == f"{BASE}/explorer/collection.json"


@given(st.uuids())
def test_an_items_content_names_its_badge(instance_id: UUID) -> None:
    assert metadata_uris.instance_of(metadata_uris.item_suffix(instance_id)) == instance_id


@given(st.text())
def test_no_other_content_is_taken_for_a_badge(content: str) -> None:
    found = metadata_uris.instance_of(content)
    assert found is None or content == metadata_uris.item_suffix(found)


@pytest.mark.parametrize(
    "content",
    [
        "",
        ".json",
        "x.json",
        "{0a0b0c0d-0000-4000-8000-000000000001}.json",
        "0A0B0C0D-0000-4000-8000-000000000001.json",
        "0a0b0c0d-0000-4000-8000-000000000001.JSON",
    ],
)
def test_almost_a_badges_content_is_none(content: str) -> None:
    assert metadata_uris.instance_of(content) is None
