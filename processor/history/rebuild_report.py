"""What `laurel rebuild` says of a rebuild, for a person and for a script."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

from processor.catalog.plan import LevelPlan
from processor.history.drift import CounterDrift, Drift, LostLevel
from processor.history.shadow_fill import ShadowFillReport
from store.rebuilds import OpenRebuild
from store.shadow_drift import MemberDrift
from store.values.names import TypeCode
from store.values.shadows import RebuildState

_NEXT = {
    RebuildState.OPEN: "`--swap` puts what was computed anew in force, `--finish` gives it up.",
    RebuildState.SWAPPED: "`--undo` takes the swap back, `--finish` ends it for good.",
    RebuildState.CLOSING: "`--finish` goes on with its end.",
}


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What the sources hold, and what became of it."""

    records: int
    repetitions: int = 0
    refused: int = 0
    examples: tuple[str, ...] = ()
    filled: ShadowFillReport = field(default_factory=ShadowFillReport)


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """Where a rebuild stands; None: none is open.

    `sources`: of this run; `missing`: events that no source has brought by now; `drift`: what
    differs; `version`: of the catalog, which a swap or an undo has brought.
    """

    rebuild: OpenRebuild | None
    sources: SourceReport | None = None
    missing: int | None = None
    drift: Drift | None = None
    version: int | None = None

    @property
    def is_interrupted(self) -> bool:
        """Return whether the sources are not filled in yet."""
        return self.sources is not None and not self.sources.filled.finished

    @property
    def differs(self) -> bool:
        """Return whether what was computed anew is not what is in force."""
        return self.drift is not None and not self.drift.is_equal

    @property
    def document(self) -> dict[str, object]:
        """Return this for a script."""
        rebuild = self.rebuild
        return {
            "rebuild": None
            if rebuild is None
            else {
                "id": rebuild.id,
                "state": rebuild.state,
                "version": rebuild.version,
                "counters": [each.name for each in rebuild.counters],
                "filled": rebuild.filled,
                "accepted_missing": rebuild.accepted,
            },
            "sources": None if self.sources is None else _sources(self.sources),
            "missing": self.missing,
            "drift": None if self.drift is None else _drift(self.drift),
            "version": self.version,
        }

    @property
    def text(self) -> str:
        """Return this for a person."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        rebuild = self.rebuild
        if rebuild is None:
            yield "No rebuild is open."
            return
        if self.version is not None:
            yield f"Version {self.version} of the catalog is in force."
        yield (
            f"Rebuild {rebuild.id} is {rebuild.state}: batches count twice since version "
            f"{rebuild.version}: {', '.join(each.name for each in rebuild.counters)}"
        )
        if self.sources is not None:
            yield from _source_lines(self.sources)
        if self.missing is not None:
            yield f"  {'missing':<12} {self.missing} counted events that no source has brought"
        if self.drift is not None:
            yield from _drift_lines(self.drift)
        if self.is_interrupted:
            yield "Interrupted; the same command goes on from here."
        elif rebuild.state in _NEXT:
            yield _NEXT[rebuild.state]


def _sources(sources: SourceReport) -> dict[str, object]:
    document = asdict(sources.filled)
    return {
        "records": sources.records,
        "repetitions": sources.repetitions,
        "refused": sources.refused,
        "refused_examples": list(sources.examples),
        **document,
    }


def _source_lines(sources: SourceReport) -> Iterator[str]:
    filled = sources.filled
    yield f"  {'records':<12} {sources.records}, of which {sources.repetitions} say again"
    yield from (
        f"  {name:<12} {number}{words}"
        for name, number, words in (
            ("filled", filled.filled, ""),
            ("before", filled.repeated, " filled in before"),
            ("live", filled.live, " counted since, in both"),
            ("unheard", filled.unheard, " in no counter that is rebuilt"),
            ("conflicts", filled.conflicts, " whose id is another event's"),
            ("unknown", filled.unknown, " never counted: `laurel backfill` counts them"),
            ("refused", sources.refused, ""),
        )
        if number or name == "filled"
    )
    yield from (f"    {each}" for each in (*filled.examples, *sources.examples))


def _drift(drift: Drift) -> dict[str, object]:
    return {
        "equal": drift.is_equal,
        "users": drift.users,
        "users_differ": drift.users_differ,
        "rows": drift.rows,
        "rows_differ": drift.rows_differ,
        "counters": [
            {
                "type": code,
                "counter": name,
                "equal": drift.rows_of[code] - each.gained - each.lost,
                "gained": each.gained,
                "lost": each.lost,
                "sample": [
                    {"user": str(user), "now": now, "rebuilt": fresh}
                    for user, now, fresh in each.sample
                ],
            }
            for (code, name), each in sorted(drift.counters.items())
        ],
        "members": {name: asdict(each) for name, each in sorted(drift.members.items())},
        "levels_gained": [
            {
                "type": code,
                "level": level,
                "created": each.created,
                "raised": each.raised,
                "mint_tasks": each.mints,
                "sample_users": [str(user) for user in each.sample],
            }
            for (code, level), each in sorted(drift.gained.items())
        ],
        "levels_lost": [
            {
                "type": code,
                "level": level,
                "users": each.users,
                "sample_users": [str(user) for user in each.sample],
            }
            for (code, level), each in sorted(drift.lost.items())
        ],
    }


def _drift_lines(drift: Drift) -> Iterator[str]:
    yield (f"  {'users':<12} {drift.users - drift.users_differ} equal, {drift.users_differ} differ")
    for (code, name), each in sorted(drift.counters.items()):
        yield from _counter_lines(code, name, each, drift.rows_of[code])
    for counter, members in sorted(drift.members.items()):
        yield _member_line(counter, members)
    yield from _gained_lines(drift.gained)
    yield from _lost_lines(drift.lost)


def _counter_lines(code: TypeCode, name: str, each: CounterDrift, rows: int) -> Iterator[str]:
    equal = rows - each.gained - each.lost
    yield f"  {code}, {name}: {equal} equal, {each.gained} gained, {each.lost} lost"
    for user, now, fresh in each.sample:
        yield f"    {user}: {now} -> {fresh}"


def _member_line(name: str, each: MemberDrift) -> str:
    return f"  members of {name}: {each.gained} gained, {each.lost} lost, {each.changed} changed"


def _gained_lines(gained: Mapping[tuple[TypeCode, int], LevelPlan]) -> Iterator[str]:
    for (code, level), each in sorted(gained.items()):
        numbers = f"created {each.created}, raised {each.raised}, mint tasks {each.mints}"
        yield f"  {code}, level {level}: {numbers}"
        yield f"    users {', '.join(map(str, each.sample))}"


def _lost_lines(lost: Mapping[tuple[TypeCode, int], LostLevel]) -> Iterator[str]:
    for (code, level), each in sorted(lost.items()):
        yield f"  {code}, level {level}: {each.users} would not reach it today, and keep it"
        yield f"    users {', '.join(map(str, each.sample))}"
