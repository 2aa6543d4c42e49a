"""`laurel doctor` and `laurel status` as commands: all parts at once, some of them away or hung.

Neither changes anything anywhere.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from ops.kafka_settings import KafkaSettings
from ops.setting_parts import MinterSettings
from ops.settings import Settings
from processor.stream import topics
from sandbox.broker import Broker
from sandbox.postgres import postgres
from sandbox.ton.network import TonNetwork
from sandbox.ton.process import TonProcess
from store import migrations
from store.engine import Database
from tests.builders.cli import ROOT, laurel_beside
from tests.builders.messages import with_catalog
from tests.builders.minters import funded, minter_on, new_wallet
from tests.builders.world import World, all_in, minting

RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Installation:
    """Everything that Laurel needs, as a process's environment has it."""

    settings: Settings
    environment: dict[str, str]

    async def state(self) -> dict[str, object]:
        """Return what database and Kafka hold."""
        with psycopg.connect(self.settings.need("database_url")) as connection:
            listed = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            tables = [name for (name,) in connection.execute(listed)]
            rows: dict[str, object] = {}
            for name in tables:
                # xmin too: a row that was written again with the same values is another.
                statement = sql.SQL(
                    "SELECT md5(string_agg(row.xmin::text || row::text, '' ORDER BY row::text))"
                    " FROM {} AS row"
                )
                rows[name] = connection.execute(statement.format(sql.Identifier(name))).fetchone()
        async with topics.administered(self.settings) as admin:
            groups = sorted(name for name, *_ in await admin.list_consumer_groups())
        made = (await topics.cluster(self.settings)).topics
        return {"rows": rows, "groups": groups, "topics": made}


def environment_of(settings: Settings) -> dict[str, str]:
    return {
        "LAUREL_DATABASE_URL": settings.need("database_url"),
        "LAUREL_KAFKA_BROKERS": settings.need("kafka_brokers"),
        "LAUREL_KAFKA__TOPIC_PREFIX": settings.kafka.topic_prefix,
        "LAUREL_KAFKA__CONSUMER_GROUP": settings.kafka.consumer_group,
        "LAUREL_TON_CONFIG": settings.need("ton_config"),
        "LAUREL_WALLET_MNEMONIC_FILE": settings.need("wallet_mnemonic_file"),
    }


@pytest.fixture
async def installation(
    database: Database,
    database_url: str,
    broker: Broker,
    topic_prefix: str,
    ton: TonNetwork,
    tmp_path_factory: pytest.TempPathFactory,
) -> Installation:
    """A catalog, topics, a wallet with money, and a token."""
    await with_catalog(database)
    minter = minter_on(ton, database_url, new_wallet(tmp_path_factory), MinterSettings())
    kafka = KafkaSettings(topic_prefix=topic_prefix, consumer_group=f"{topic_prefix}-group")
    settings = minter.model_copy(update={"kafka_brokers": broker.address, "kafka": kafka})
    await funded(settings, ton)
    await topics.prepare(settings, dry_run=False)
    world = World(database)
    async with minting(settings):
        await all_in(world, await world.to_mint(), "active/minted")
    return Installation(settings, environment_of(settings))


async def test_all_is_well_and_nothing_is_changed(
    installation: Installation, ton: TonNetwork
) -> None:
    before = await installation.state()
    transactions = len(ton.chain.transactions)
    doctor = await laurel_beside("doctor", "--json", **installation.environment)
    status = await laurel_beside("status", "--json", **installation.environment)
    assert (doctor.returncode, doctor.stderr) == (0, ""), doctor.stdout
    assert (status.returncode, status.stderr) == (0, ""), status.stdout
    lines = json.loads(doctor.stdout)
    assert {each["state"] for each in lines.values()} == {"ok"}
    shown = json.loads(status.stdout)
    assert shown["state"] == "ok"
    assert list(shown["sections"]) == [
        "counting",
        "kafka",
        "catalog",
        "mint queue",
        "outbox",
        "chain",
        "wallet",
    ]
    assert await installation.state() == before
    assert (len(ton.chain.transactions), ton.chain.waiting) == (transactions, 0)


async def test_parts_that_are_away_are_told_and_the_others_are_shown(
    installation: Installation,
) -> None:
    away = installation.environment | {
        "LAUREL_DATABASE_URL": "postgresql://laurel:hunter2@127.0.0.1:9/laurel",
        "LAUREL_KAFKA_BROKERS": "127.0.0.1:9",
    }
    doctor = await laurel_beside("doctor", **away)
    status = await laurel_beside("status", **away)
    assert (doctor.returncode, doctor.stderr) == (2, "")
    assert (status.returncode, status.stderr) == (2, "")
    said = {tuple(line.split()[:2]) for line in doctor.stdout.splitlines()}
    assert {("fail", "database"), ("fail", "kafka"), ("ok", "ton"), ("ok", "balance")} <= said
    assert re.search(r"^ +chain +block +masterchain block \d+", status.stdout, re.MULTILINE)
    assert (
        len(re.findall(r"^fail  [a-z ]+ unknown +.*127\.0\.0\.1:9", status.stdout, re.MULTILINE))
        == 5
    )
    assert "hunter2" not in doctor.stdout + status.stdout


async def test_parts_that_hang_hold_nobody_up(
    broker: Broker, topic_prefix: str, ton_process: TonProcess, tmp_path: Path
) -> None:
    """A server that was stopped takes connections, and answers nothing."""
    with postgres() as server:
        await migrations.upgrade(server.url)
        settings = Settings(
            database_url=SecretStr(server.url),
            kafka_brokers=broker.address,
            kafka=KafkaSettings(topic_prefix=topic_prefix),
            ton_config=ton_process.config_path,
            wallet_mnemonic_file=tmp_path / "none.words",
        )
        environment = environment_of(settings)
        stopped = [ton_process.pid, server.pid]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            doctor = await laurel_beside("doctor", **environment)
            status = await laurel_beside("status", **environment)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
    assert (doctor.returncode, status.returncode) == (2, 2), doctor.stderr + status.stderr
    said = {tuple(line.split()[:2]) for line in doctor.stdout.splitlines()}
    assert {("fail", "database"), ("fail", "ton"), ("ok", "kafka"), ("ok", "group")} <= said
    assert f"at {broker.address}" in status.stdout


def two_screens(environment: dict[str, str]) -> tuple[list[dict[str, Any]], int, str]:
    """Watch until there are two; return them, the exit code after an interrupt, and stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli", "status", "--watch", "--json"],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        screens = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    return screens, process.returncode, said


async def test_a_screen_follows_another_until_it_is_interrupted(
    installation: Installation,
) -> None:
    screens, code, said = await asyncio.to_thread(two_screens, installation.environment)
    assert [each["state"] for each in screens] == ["ok", "ok"], screens
    before, after = (each["sections"]["chain"]["seqno"] for each in screens)
    assert after >= before
    assert (code, said) == (130, "")


async def test_the_runbook_shows_both_as_they_are(installation: Installation) -> None:
    """The same lines and the same rows in the same order, whatever they say."""
    doctor = await laurel_beside("doctor", **installation.environment)
    status = await laurel_beside("status", **installation.environment)
    section = RUNBOOK.partition("## Is all well?")[2].partition("\n## ")[0]
    shown = re.findall(r"^\$ laurel \w+\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    of_doctor, of_status = (text.splitlines() for text in shown)
    assert unique(line.split()[1] for line in of_doctor) == unique(
        line.split()[1] for line in doctor.stdout.splitlines()
    )
    assert titles_in(of_status) == titles_in(status.stdout.splitlines())


def unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))


def titles_in(screen: Sequence[str]) -> list[str]:
    """The sections of a screen, in their order: what stands in their column."""
    return [found[1] for line in screen[1:] if (found := re.match(r".{6}(\w+( \w+)?)  ", line))]
