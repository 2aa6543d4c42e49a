"""Builders: types, levels and catalogs with what a test does not care about already in them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID

from processor.catalog.load import type_id
from store.values.badges import Instance, InstanceStatus, OnchainStatus
from store.values.catalog import (
    Catalog,
    Category,
    CounterKind,
    CounterSpec,
    EventSpec,
    FieldKind,
    FieldSpec,
    LevelSpec,
    OnchainPolicy,
    Rarity,
    TypeSpec,
)
from store.values.names import CounterName, TypeCode

USER = UUID("11111111-1111-4111-8111-111111111111")
TENANT = UUID("22222222-2222-4222-8222-222222222222")
BADGE = UUID("33333333-3333-4333-8333-333333333333")


def a_level(
    level: int = 1, conditions: Mapping[str, object] | None = None, **changes: Any
) -> LevelSpec:
    plain = LevelSpec(
        level=level,
        order=level * 10,
        title=f"Level {level}",
        description="",
        rarity=Rarity.COMMON,
        image_url=None,
        conditions=conditions or {"points": {"gte": level * 5}},
        auto_mint_onchain=False,
    )
    return replace(plain, **changes)


def a_type(
    *levels: LevelSpec,
    code: str = "walker",
    counters: tuple[str, ...] = ("points",),
    **changes: Any,
) -> TypeSpec:
    plain = TypeSpec(
        id=type_id(TypeCode(code)),
        code=TypeCode(code),
        title="Walker",
        description="",
        category=Category.TRAVELER,
        base_image_url="https://badges.example/walker.svg",
        is_onchain_capable=True,
        default_onchain_policy=OnchainPolicy.ALWAYS,
        onchain_min_rarity=Rarity.RARE,
        metadata_schema={},
        counters=tuple(CounterName(name) for name in counters),
        metadata_fields={},
        levels=levels or (a_level(1), a_level(2), a_level(3)),
    )
    return replace(plain, **changes)


def a_counter(name: str = "points", **changes: Any) -> CounterSpec:
    return replace(
        CounterSpec(id=0, name=CounterName(name), kind=CounterKind.COUNT, event_type="step.made"),
        **changes,
    )


def an_event(name: str = "step.made", *fields: FieldSpec, topic: str = "steps") -> EventSpec:
    return EventSpec(name, topic, fields or (FieldSpec("step_id", FieldKind.ID, required=True),))


def a_catalog(
    *types: TypeSpec,
    counters: tuple[CounterSpec, ...] | None = None,
    events: tuple[EventSpec, ...] | None = None,
) -> Catalog:
    chosen = types or (a_type(),)
    used = dict.fromkeys(name for badge_type in chosen for name in badge_type.counters)
    return Catalog(
        version=0,
        events=events or (an_event(),),
        counters=tuple(a_counter(name) for name in used) if counters is None else counters,
        types=tuple(sorted(chosen, key=lambda each: each.code)),
    )


def an_instance(level: int = 1, **changes: Any) -> Instance:
    plain = Instance(
        id=BADGE,
        type_id=type_id(TypeCode("walker")),
        user_id=USER,
        tenant_id=TENANT,
        current_level=level,
        status=InstanceStatus.ACTIVE,
        onchain_status=OnchainStatus.NOT_MINTED,
        onchain_token_id=None,
        ordinal=1,
    )
    return replace(plain, **changes)
