"""`laurel badge` as a process: what it says, what it writes, how it ends and what it loads."""

import subprocess
import sys

import pytest
from sqlalchemy import text

from ops.lifecycle import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from store.engine import Database
from tests.builders.cli import ROOT
from tests.builders.cli import laurel_beside as laurel
from tests.builders.messages import ALICE, Log, a_partner, count
from tests.builders.patience import PATIENCE_S

# Faust and what it stands on: half a second, and nothing that a badge needs.
HEAVY = ("faust", "mode", "aiokafka")


@pytest.fixture
async def ambassador(counting: Database, database_url: str) -> dict[str, str]:
    """ALICE is an ambassador; the environment that leads to her database."""
    log = Log()
    log.append(a_partner(ALICE))
    await count(counting, log)
    return {"LAUREL_DATABASE_URL": database_url}


async def test_a_badge_is_minted_by_hand_once(
    ambassador: dict[str, str], counting: Database
) -> None:
    command = ("badge", "mint", str(ALICE), "ambassador", "--external-id", "ticket-7")
    assert [(await laurel(*command, **ambassador)).returncode for _ in range(2)] == [
        EXIT_OK,
        EXIT_OK,
    ]
    async with counting.transaction() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM nft_mint_queue"))).scalar_one() == 1


async def test_a_badge_is_revoked_by_hand_with_a_reason(
    ambassador: dict[str, str], counting: Database
) -> None:
    without = await laurel("badge", "revoke", str(ALICE), "ambassador", **ambassador)
    assert (without.returncode, "--reason" in without.stderr) == (EXIT_USAGE, True)
    done = await laurel(
        "badge", "revoke", str(ALICE), "ambassador", "--reason", "a mistake", **ambassador
    )
    assert done.returncode == EXIT_OK, done.stderr
    async with counting.transaction() as conn:
        rows = await conn.execute(
            text("""
                SELECT actor_service, details->>'reason' FROM nft_audit_log
                 WHERE action = 'revoked'
            """)
        )
        assert [tuple(row) for row in rows] == [("admin", "a mistake")]


async def test_a_badge_is_awarded_by_hand(ambassador: dict[str, str], counting: Database) -> None:
    command = ("badge", "award", str(ALICE), "ambassador", "--level", "2", "--reason", "a contest")
    done = await laurel(*command, **ambassador)
    assert done.returncode == EXIT_OK, done.stderr
    raised = "SELECT current_level FROM nft_instance"
    reason = "SELECT details->>'reason' FROM nft_audit_log WHERE action = 'level_up'"
    async with counting.transaction() as conn:
        assert (await conn.execute(text(raised))).scalar_one() == 2
        assert (await conn.execute(text(reason))).scalar_one() == "a contest"


async def test_what_cannot_be_done_is_said(ambassador: dict[str, str]) -> None:
    done = await laurel("badge", "burn", str(ALICE), "ambassador", **ambassador)
    assert done.returncode == EXIT_FAILURE
    assert "has no token" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (["badge", "mint", "--help"], EXIT_OK),
        (["badge", "mint", str(ALICE), "ambassador"], EXIT_FAILURE),
    ],
)
def test_a_badge_needs_no_faust(arguments: list[str], exit_code: int) -> None:
    """The second one goes all the way to a database that is not there."""
    code = (
        "import sys\n"
        "from cli import main\n"
        f"sys.argv = ['laurel', *{arguments!r}]\n"
        "try:\n"
        "    main(prog_name='laurel')\n"
        "finally:\n"
        f"    print('heavy:', *[name for name in {HEAVY!r} if name in sys.modules])\n"
        "    print('pipeline:', 'processor.batch.pipeline' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={"LAUREL_DATABASE_URL": "postgresql://laurel@127.0.0.1:9/laurel"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == exit_code, done.stderr
    assert "heavy:\n" in done.stdout
    assert f"pipeline: {exit_code == EXIT_FAILURE}\n" in done.stdout
    assert ("database_unreachable" in done.stderr) == (exit_code == EXIT_FAILURE)
