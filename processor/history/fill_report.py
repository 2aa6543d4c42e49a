"""What a fill says of itself, to a person and to a script."""

from collections.abc import Sequence
from datetime import UTC, datetime

from ops.quantities import shown_grams
from processor.catalog.plan import level_lines
from processor.history.fill_run import FillReport
from processor.history.load_report import PRICES_OF
from store.fill_staging import Standing
from store.fills import Fill
from store.history_jobs import ListedJob

_WORDS = {
    Standing.TAKEN: ("taken", "counted before, and not in it"),
    Standing.TAKEN_BEFORE: ("taken before", "by this fill"),
    Standing.COUNTED: ("in it already", "counted since it began"),
    Standing.UNKNOWN: ("not counted", "by anybody: `laurel backfill` counts them"),
    Standing.UNHEARD: ("not heard", "when they came: `laurel backfill` counts them"),
}


def document(report: FillReport) -> dict[str, object]:
    """Return a report for a script."""
    counter, taken = report.counter, report.taken
    found: dict[str, object] = {
        "counter": counter.name,
        "first_version": counter.first_version,
        "began_on": counter.began_on.isoformat(),
        "events": report.events,
        "users": report.users,
        "badges_awarded": sum(each.created for each in report.levels.values()),
        "badges_raised": sum(each.raised for each in report.levels.values()),
        "mint_tasks": report.mints,
        "cost_nanograms": report.mints * report.mint_nano,
        "prices_of": PRICES_OF,
        "levels": [
            {
                "type": code,
                "level": level,
                "created": each.created,
                "raised": each.raised,
                "mint_tasks": each.mints,
                "sample_users": [str(user) for user in each.sample],
            }
            for (code, level), each in report.levels.items()
        ],
        "finished": report.finished,
    }
    if taken is not None:
        found["sources"] = {
            "records": report.records,
            "repeated": report.repeated,
            "refused": dict(report.refused),
            "examples": list(report.examples),
            "slices": taken.slices,
            "resumed_at": taken.resumed_at,
            **{standing.value: taken.numbers[standing] for standing in _WORDS},
        }
    return found


def text(report: FillReport) -> str:
    """Return a report for a person."""
    counter = report.counter
    lines = [f"{counter.name}, since version {counter.first_version} ({counter.began_on}):"]
    if report.taken is not None:
        lines += _source_lines(report)
    lines.append(f"  the fill has {report.events} events of {report.users} users; closed now, it")
    lines[-1] += " would give:" if report.levels else " would give no badge and no level."
    for (code, level), each in report.levels.items():
        lines += level_lines(code, level, each)
    if report.mints:
        cost = shown_grams(report.mints * report.mint_nano)
        lines.append(
            f"    {report.mints} tokens to mint, {cost} Grams at most (the settings' amounts, held "
            f"against the prices of {PRICES_OF})"
        )
    command = f"laurel history fill --counter {counter.name}"
    if not report.finished:
        lines.append("Interrupted; the same command goes on from here.")
    elif report.events:
        lines.append(f"Nobody sees it yet: `{command} --close` gives it, `--undo` drops it.")
    return "\n".join(lines)


def _source_lines(report: FillReport) -> list[str]:
    taken = report.taken
    if taken is None:
        return []
    refused = sum(report.refused.values())
    lines = [f"  {report.records} records, {report.repeated} of them repeat one of the others"]
    if taken.resumed_at:
        begun = f"slice {taken.resumed_at + 1} of {taken.slices}"
        whole = taken.resumed_at == taken.slices
        lines.append("  taken whole by an earlier run" if whole else f"  from {begun} on")
    for standing, (word, meaning) in _WORDS.items():
        if taken.numbers[standing] or standing is Standing.TAKEN:
            lines.append(f"    {word:<14} {taken.numbers[standing]:>10}  {meaning}")
    if refused:
        reasons = ", ".join(f"{reason} {number}" for reason, number in report.refused.items())
        lines.append(f"    {'refused':<14} {refused:>10}  {reasons}")
        lines += [f"      {example}" for example in report.examples]
        if refused > len(report.examples):
            lines.append(f"      and {refused - len(report.examples)} more")
    return lines


def fill_document(fill: Fill) -> dict[str, object]:
    """Return a fill for a script."""
    return {
        "counter": fill.name,
        "state": fill.state.value,
        "events": fill.events,
        "users": fill.users,
        "badges_awarded": fill.awarded,
        "badges_raised": fill.raised,
        "silent": fill.silent,
        "no_mint": fill.no_mint,
        "slices": fill.slices,
        "slices_done": fill.slices_done,
        "created_at": fill.created_at.isoformat(),
        "updated_at": fill.updated_at.isoformat(),
    }


def closed_text(fill: Fill) -> str:
    """Return what closing has given."""
    return (
        f"{fill.name} has its past: {fill.events} events, {fill.users} users; badges awarded "
        f"{fill.awarded}, raised {fill.raised}."
    )


def list_document(found: Sequence[Fill], jobs: Sequence[ListedJob]) -> dict[str, object]:
    """Return all fills and jobs for a script."""
    return {
        "fills": [fill_document(each) for each in found],
        "jobs": [
            {
                "kind": each.kind.value,
                "state": each.state.value,
                "sources": list(each.sources),
                "slices": each.slices,
                "slices_done": each.done,
                "counted": each.counted,
                "created_at": each.created_at.isoformat(),
                "updated_at": each.updated_at.isoformat(),
            }
            for each in jobs
        ],
    }


def list_text(found: Sequence[Fill], jobs: Sequence[ListedJob]) -> str:
    """Return all fills and jobs for a person, a line each."""
    if not found and not jobs:
        return "Nothing was begun with history."
    lines = [
        f"fill      {each.state.value:<10}  {each.name}: {each.events} events, {each.users} users, "
        f"awarded {each.awarded}, raised {each.raised}, {_moment(each.updated_at)}"
        for each in found
    ]
    lines += [
        f"{each.kind.value:<8}  {each.state.value:<10}  {', '.join(each.sources)}: {each.done} of "
        f"{each.slices} slices, counted {each.counted}, {_moment(each.updated_at)}"
        for each in jobs
    ]
    return "\n".join(lines)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
