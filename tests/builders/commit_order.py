"""The order in which PostgreSQL commits the transactions of batches, catalogs, jobs and commands.

A deferred trigger notes each at its commit, while its locks are held: of two that meet in a row the
one that comes first is noted first, and of two that do not meet the order is all the same. So a
model that is told one transaction after the other comes to what pipelines at once must leave.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text

from store.engine import Database
from tests.builders.plain_model import Model
from tests.builders.plain_rules import Command, Holder, Message, Rules, Run
from tests.builders.sql import rows

TOPIC = "laurel.things"
FIRST = UUID(int=0)

_NOTED = ("offset_ledger", "catalog_version", "catalog_job", "command_log")
_NOTE = (
    """
    CREATE TABLE commit_order (
        place bigserial PRIMARY KEY, transaction xid8 NOT NULL, origin text NOT NULL,
        written jsonb NOT NULL)
    """,
    """
    CREATE FUNCTION note_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO commit_order (transaction, origin, written)
        VALUES (pg_current_xact_id(), TG_TABLE_NAME, to_jsonb(NEW));
        RETURN NULL;
    END $$
    """,
    *(
        f"CREATE CONSTRAINT TRIGGER note_commit AFTER INSERT OR UPDATE ON {table}"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_commit()"
        for table in _NOTED
    ),
)


async def note_commits(database: Database) -> None:
    """Have `database` note its commits from now on."""
    async with database.transaction() as conn:
        for statement in _NOTE:
            await conn.execute(text(statement))


@dataclass(frozen=True)
class Adoption:
    """A type takes over a counter that another one has; `moves`: that one keeps it no more."""

    code: str
    name: str
    source: str
    moves: bool


@dataclass
class Told:
    """All that anybody was told: messages by partition, catalogs by version, commands by id.

    `runs` says how the messages of a partition are counted.
    """

    messages: dict[int, list[Message]] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    catalogs: list[Rules] = field(default_factory=list)
    commands: dict[str, Command] = field(default_factory=dict)


@dataclass
class _Job:
    """What follows from a version, as far as it is done."""

    version: int
    adoptions: Sequence[Adoption]
    dropped: Mapping[str, Sequence[str]]
    evaluated: set[str]
    rewritten: set[str]
    run: Run
    state: str
    done_to: UUID | None = None

    @property
    def sources(self) -> set[str]:
        return {each.source for each in self.adoptions} | set(self.dropped)


async def follow(database: Database, told: Told, model: Model) -> None:
    """Tell `model` what `database` has committed, in its order."""
    written = await rows(
        database, "SELECT transaction::text, origin, written FROM commit_order ORDER BY place"
    )
    together: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for transaction, origin, row in written:
        together.setdefault(transaction, []).append((origin, row))
    replay = _Replay(told, model)
    for noted in together.values():
        replay.take(noted)


class _Replay:
    def __init__(self, told: Told, model: Model) -> None:
        self._told = told
        self._model = model
        self._positions: dict[int, int] = {}
        self._job: _Job | None = None

    def take(self, noted: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for origin, row in noted:
            if origin == "catalog_version" and row["is_current"]:
                self._put_in_force(row["id"])
            elif origin == "catalog_job" and row["state"] != "superseded":
                self._go_on(row)
        # Written when it is claimed, and again with its badge.
        for external_id in {row["external_id"] for origin, row in noted if origin == "command_log"}:
            self._model.carry_out(self._told.commands[external_id])
        reached = {
            row["partition"]: row["next_offset"]
            for origin, row in noted
            if origin == "offset_ledger" and row["topic"] == TOPIC
        }
        if any(reached.values()):
            self._count(reached)

    # ---- batches

    def _count(self, reached: Mapping[int, int]) -> None:
        messages = list[Message]()
        for partition, position in sorted(reached.items()):
            start = self._positions.get(partition, 0)
            messages += self._told.messages[partition][start:position]
            self._positions[partition] = position
        if self._job is not None and self._job.state == "counters":
            for user in sorted({UUID(each["subject"]) for each in _firsts(messages)}):
                self._take_over(self._job, user)
        self._model.take(messages, self._told.runs[min(reached)])

    # ---- catalogs

    def _put_in_force(self, version: int) -> None:
        old, new = self._model.rules, self._told.catalogs[version - 1]
        self._model.put_in_force(new, version)
        adoptions = list(_adoptions(old, new))
        dropped = {
            code: gone
            for code, each in old.types.items()
            if (gone := [name for name in each.counters if name not in new.types[code].counters])
        }
        evaluated = {each.code for each in adoptions} | {
            code
            for code, each in old.types.items()
            if _conditions(each.levels) != _conditions(new.types[code].levels)
        }
        rewritten = {
            code for code, each in old.types.items() if each.metadata != new.types[code].metadata
        }
        if self._job is not None and self._job.state in ("levels", "metadata"):
            rewritten |= self._job.rewritten
            evaluated |= self._job.evaluated if self._job.state == "levels" else set()
        self._job = _Job(version, adoptions, dropped, evaluated, rewritten, Run(), "none")

    def _go_on(self, row: Mapping[str, Any]) -> None:
        """Do what a slice did, or begin a job."""
        job = self._job
        assert job is not None
        assert job.version == row["version"]
        done_to = row["done_to"] and UUID(row["done_to"])
        if job.state == "none":
            job.run = Run(publish=not row["silent"], mint=not row["no_mint"])
        elif job.state == row["state"] and done_to != job.done_to:
            self._slice(job, job.done_to or FIRST, done_to)
        job.state, job.done_to = row["state"], done_to

    def _slice(self, job: _Job, after: UUID, to: UUID) -> None:
        model = self._model
        if job.state == "metadata":
            for holder, held in model.badges.items():
                for badge in held if holder[1] in job.rewritten else ():
                    if after < badge.id <= to:
                        model.rewrite(holder, badge, job.version)
            return
        for user in sorted({user for user, _ in model.rows if after < user <= to}):
            if job.state == "counters":
                self._take_over(job, user)
                continue
            for code in sorted(job.evaluated, key=lambda each: model.rules.types[each].id):
                model.evaluate_again((user, code), job.run)

    def _take_over(self, job: _Job, user: UUID) -> None:
        taken: dict[Holder, list[tuple[str, Holder, bool]]] = {}
        for each in job.adoptions:
            listed = taken.setdefault((user, each.code), [])
            listed.append((each.name, (user, each.source), each.moves))
        self._model.adopt(taken)
        for code, names in job.dropped.items():
            self._model.drop((user, code), names)


def _firsts(messages: Sequence[Message]) -> Iterator[Message]:
    seen = set()
    for each in messages:
        key = each.get("tenantid"), each["source"], each["id"]
        if key not in seen:
            seen.add(key)
            yield each


def _conditions(levels: Sequence[Any]) -> dict[int, object]:
    return {each.level: each.conditions for each in levels}


def _adoptions(old: Rules, new: Rules) -> Iterator[Adoption]:
    """Yield which type takes over a counter from where: best from one that goes on to keep it."""
    keepers: dict[str, tuple[str, bool]] = {}
    for code, each in sorted(old.types.items()):
        for name in each.counters:
            stays = name in new.types[code].counters
            if stays or name not in keepers:
                keepers[name] = code, not stays
    for code, each in sorted(new.types.items()):
        had = old.types[code].counters if code in old.types else ()
        for name in each.counters:
            if name in keepers and name not in had:
                source, moves = keepers[name]
                yield Adoption(code, name, source, moves)
