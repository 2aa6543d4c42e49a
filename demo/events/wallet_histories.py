"""Messages that link and unlink the travellers' wallets over the year.

Each history ends the same whenever workers and minter look: the event that decides is sent before
the one it outdates, or in a later phase, once the tokens are there.
"""

import random
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count

from demo import wallets
from demo.cloudevents import Event
from demo.events.activity import BEGIN, YEAR
from demo.events.travellers import Traveller, WalletHistory

_APART = timedelta(days=20)


class WalletHistories:
    """Writes the wallet events of `people`."""

    def __init__(self, rng: random.Random, people: Sequence[Traveller]) -> None:
        self._rng = rng
        self._people = people
        self._numbers = count(1)

    def during_the_year(self) -> Iterator[tuple[datetime, Event]]:
        """Yield what is sent among the events, and when."""
        for person in self._people:
            arrives = BEGIN + self._rng.random() * YEAR
            # An event never lies ahead of its arrival, and both of a pair arrive in this order,
            # through one partition.
            later, earlier = arrives - _APART, arrives - 2 * _APART
            after = arrives + _APART
            match person.wallet:
                case WalletHistory.EARLY | WalletHistory.LEFT_LATER:
                    yield arrives, self._event("wallet.linked", person, later)
                case WalletHistory.MOVED:
                    yield arrives, self._event("wallet.linked", person, later)
                    yield after, self._event("wallet.linked", person, earlier, former=True)
                case WalletHistory.RETURNED:
                    yield arrives, self._event("wallet.linked", person, later)
                    yield after, self._event("wallet.unlinked", person, earlier)
                case WalletHistory.LEFT:
                    yield arrives, self._event("wallet.unlinked", person, later)
                    yield after, self._event("wallet.linked", person, earlier)
                case WalletHistory.LATE | WalletHistory.NONE:
                    pass

    def late_links(self) -> Iterator[Event]:
        """Yield the links of those who come with a wallet when their badges are long earned."""
        for person in self._people:
            if person.wallet is WalletHistory.LATE:
                yield self._event("wallet.linked", person, BEGIN + YEAR)

    def farewells(self) -> Iterator[Event]:
        """Yield the unlinkings of those whose tokens exist by then.

        The tokens stay where they are.
        """
        for person in self._people:
            if person.wallet is WalletHistory.LEFT_LATER:
                yield self._event("wallet.unlinked", person, BEGIN + YEAR)

    def _event(
        self, type_: str, person: Traveller, time: datetime, *, former: bool = False
    ) -> Event:
        address = wallets.address(person.number, former=former)
        written = wallets.friendly(address) if self._rng.random() < 0.5 else address
        number = f"w-{next(self._numbers)}"
        moment = time.replace(microsecond=0)
        return Event(
            "wallets", type_, "/wallet-service", number, person.id, moment, {"address": written}
        )
