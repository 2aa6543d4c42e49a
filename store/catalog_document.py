"""The catalog as JSON, as catalog_version.document holds it, and the hash of that.

Numbers stay exact both ways (Decimal, never float). Ids that the database gives (the version's, the
counters') are not part of it. Pure.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import msgspec

from store.exact_json import dumped
from store.values.catalog import Catalog
from store.values.names import CounterName


def encoded(catalog: Catalog) -> str:
    """Return `catalog` as canonical JSON.

    Sorted keys, no spaces, without the ids that the database gives.
    """
    bare = replace(
        catalog, version=0, counters=tuple(replace(counter, id=0) for counter in catalog.counters)
    )
    return dumped(bare)


def decoded(
    document: Mapping[str, object], version: int, counter_ids: Mapping[CounterName, int]
) -> Catalog:
    """Return the catalog that `encoded` wrote, with its version and the ids of its counters.

    Raises:
        KeyError: a counter has no id.
        msgspec.ValidationError: another program wrote the document.
    """
    bare = msgspec.convert(document, Catalog)
    counters = tuple(replace(counter, id=counter_ids[counter.name]) for counter in bare.counters)
    return replace(bare, version=version, counters=counters)


def content_hash(document: str) -> bytes:
    """Return SHA-256 over `document`, canonical JSON."""
    return hashlib.sha256(document.encode()).digest()
