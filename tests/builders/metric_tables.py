"""What a worker's run and a minter's do to their metrics, as docs/metrics.md says.

The runs are tests/processor/stream/test_metrics.py and tests/minter/test_metrics.py;
tests/ops/test_metrics.py holds that no metric is missing here.
"""

from importlib.metadata import version
from platform import python_version
from typing import Any

import pytest

from tests.builders.metrics import Labels

HIKES = "laurel.hikes"
PARTNERS = "laurel.partners"
QUESTS = "laurel.quests"
COMMANDS = "laurel.commands"
PHASES = ("fence", "dedupe", "merge", "decide", "write", "commit")

# By series: what the run adds to it, by label values; no other label moves.
COUNTED_BY_WORKER: dict[str, dict[Labels, float]] = {
    "laurel_events_total": {
        ("partner.joined", "counted"): 4,
        ("partner.joined", "duplicate"): 2,
        ("hike.done", "ignored"): 1,
        ("wallet.linked", "applied"): 1,
        ("wallet.linked", "repeated"): 1,
        ("badge.mint", "applied"): 1,
        ("badge.mint", "repeated"): 1,
        ("badge.revoke", "dead_letter"): 1,
        # Two for badges that do not come; one of them has waited long enough.
        ("badge.burn", "waiting"): 2,
        ("badge.burn", "dead_letter"): 1,
        ("unknown", "dead_letter"): 4,
    },
    "laurel_dead_letters_total": {
        (QUESTS, "not_json"): 3,
        (QUESTS, "unknown_type"): 1,
        (COMMANDS, "external_id_conflict"): 1,
        (COMMANDS, "no_such_badge"): 1,
    },
    "laurel_commands_expired_total": {(): 1},
    # One of them came again, at the same place.
    "laurel_dead_letters_repeated_total": {(): 1},
    # One partner makes level 1, three make 2: the fourth changes nothing.
    "laurel_levels_total": {("ambassador", "1"): 1, ("ambassador", "2"): 1},
    # Three batches, and the one that is fenced: it has no record.
    "laurel_batch_seconds_count": {(): 4},
    "laurel_batch_phase_seconds_count": dict.fromkeys(((each,) for each in PHASES), 4),
    "laurel_batch_records_count": {(): 4},
    "laurel_batch_records_sum": {(): 18},
    # Each record of the three batches once: what is fenced, or stale, is another's.
    "laurel_event_age_seconds_count": {
        (PARTNERS,): 6,
        (HIKES,): 1,
        (QUESTS,): 4,
        ("laurel.wallets",): 2,
        (COMMANDS,): 5,
    },
    "laurel_rebalances_total": {(): 1},
    "laurel_ledger_events_total": {
        ("skipped",): 3,
        ("fenced",): 1,
        ("seek",): 1,
        ("offset_skip_detected",): 1,
    },
    "laurel_retries_total": {("postgresql", "database_unreachable"): 2},
}
# By series: what it shows after the run, by label values.
SHOWN_BY_WORKER: dict[str, dict[Labels, Any]] = {
    # The Kafka timestamp of the second batch's last record is 90 s before the clock.
    "laurel_event_lag_seconds": {(PARTNERS,): pytest.approx(90, abs=0.001)},  # of milliseconds
    "laurel_consumer_lag_records": {(PARTNERS, "0"): 12, (HIKES, "0"): 0},
    "laurel_withheld_records": {(PARTNERS, "0"): 5, (HIKES, "0"): 0},
    "laurel_partitions_assigned": {(): 2},
    "laurel_partitions_paused": {
        (PARTNERS, "records_removed"): 1,
        (PARTNERS, "topic_recreated"): 0,
    },
    "laurel_commands_waiting": {(): 1},
    "laurel_catalog_version": {(): 2},
    # A third version evaluates the one user who has partners, and nobody has begun.
    "laurel_catalog_job_users": {("done",): 0, ("left",): 1},
    # Of the two about the badge one is taken for published, the other for an hour old.
    "laurel_outbox_messages": {(): 1},
    "laurel_outbox_oldest_seconds": {(): pytest.approx(3_600, abs=600)},
    "laurel_outbox_last_published_timestamp_seconds": {(): 1_780_000_000},
    "laurel_build_info": {(version("laurel"), python_version()): 1},
    "laurel_clock_ahead_seconds": {("postgresql",): 0.25, ("kafka",): -2.0},
    "laurel_ready": {(): 1},
}

# By series: what the run adds to it, by label values; no other label moves.
COUNTED_BY_MINTER: dict[str, dict[Labels, float]] = {
    # Two badges in one message, of which one is burned; the first sending counts as `resend`.
    "laurel_mint_decisions_total": {
        ("mint", "resend"): 2,
        ("burn", "resend"): 1,
        ("mint", "confirm"): 2,
        ("burn", "sign"): 1,
        ("burn", "confirm"): 1,
    },
    "laurel_mint_stage_seconds_count": {
        ("mint", "wallet"): 2,
        ("mint", "queued"): 2,
        ("mint", "sent"): 2,
        ("mint", "total"): 2,
        ("burn", "queued"): 1,
        ("burn", "sent"): 1,
        ("burn", "total"): 1,
    },
    "laurel_message_sends_total": {
        ("deploy", "accepted"): 1,
        ("mint", "accepted"): 1,
        ("burn", "accepted"): 1,
    },
    # Counted by tests/minter/test_sending.py.
    "laurel_mint_not_signed_total": {},
    "laurel_reconcile_seconds_count": {(): 1},
    "laurel_errors_total": {("chain_unreachable",): 1},
}
# By series: what all of it shows after the run, by label values; what is 0 is left out.
SHOWN_BY_MINTER: dict[str, dict[Labels, Any]] = {
    "laurel_mint_tasks": {
        ("mint", "confirmed", "none"): 2,
        ("burn", "confirmed", "none"): 1,
        ("mint", "pending", "no_wallet"): 1,
    },
    # It was made for the run, some seconds ago.
    "laurel_mint_task_oldest_seconds": {
        ("mint", "pending", "no_wallet"): pytest.approx(300, abs=300)
    },
    "laurel_reconcile_findings": {("lost_id",): 1},
    # Shut by tests/minter/test_accounting.py.
    "laurel_minting_shut": {},
    # Stopped by tests/minter/test_sending.py.
    "laurel_collections_stopped": {},
}
# What the chain shows is only known after the run.
OF_THE_CHAIN = (
    "laurel_chain_seqno",
    "laurel_wallet_balance_nanograms",
    "laurel_wallet_spent_nanograms_total",
    "laurel_chain_block_age_seconds",
    "laurel_lite_server_up",
    "laurel_lite_server_blocks_behind",
    "laurel_reconcile_last_success_timestamp_seconds",
)
