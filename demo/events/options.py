"""Options of the event generator: a seed, and how many events of how many travellers.

Apart from the generator, so that `laurel demo --help` loads nothing heavy.
"""

from dataclasses import dataclass

from ops.errors import UsageError


@dataclass(frozen=True, slots=True)
class Plan:
    """What to generate.

    `events` good ones in phase 1, and beside them duplicates and broken messages; `travellers`
    people.

    Raises:
        UsageError: there is too little to do for so many.
    """

    seed: int = 20261123
    events: int = 50_000
    travellers: int = 2_000

    def __post_init__(self) -> None:
        if self.travellers < 1 or self.events < 2 * self.travellers:
            raise UsageError(
                "Each traveller does two things at least: make --events twice --travellers or more."
            )
