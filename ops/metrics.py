"""Every metric of Laurel: name, unit, closed label sets, meaning.

docs/metrics.md is generated from here.

Base units (seconds, bytes); never an id as a label. Which of them a process shows is told by its
role (ops/metric_roles.py). A counter whose labels are a closed set shows 0 from the start, since
what appears with its first event shows no increase.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

from ops.bulk_histogram import BulkHistogram

# A series more for each counter and histogram, which nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PHASE_SECONDS = (0.001, 0.0025, *_SECONDS)
_AGE_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_MINT_SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
# A person may take weeks to link a wallet.
_STAGE_SECONDS = (*_MINT_SECONDS, 7200.0, 86400.0, 604800.0, 2592000.0)

EVENTS = Counter(
    "laurel_events_total",
    "Events by type and outcome: counted, duplicate (the same event again), ignored (known type "
    "that no counter listens to), applied or repeated (commands and wallets), waiting (a command "
    "whose badge or token is not there yet; what becomes of it counts once more), dead_letter. An "
    "undeclared type is `unknown`.",
    ("type", "outcome"),
)
BATCH_SECONDS = Histogram(
    "laurel_batch_seconds",
    "Time of one batch that was committed, with the attempts before that came to nothing.",
    buckets=_SECONDS,
)
BATCH_PHASE_SECONDS = Histogram(
    "laurel_batch_phase_seconds",
    "What laurel_batch_seconds consists of: fence (a connection, and the locks of catalog and "
    "ledger), dedupe (which events are new), merge (counters, wallets, claims of commands), decide "
    "(badges locked, levels and commands decided), write, commit. An attempt that came to nothing "
    "counts in the phase that it ended in.",
    ("phase",),
    buckets=_PHASE_SECONDS,
)
BATCH_RECORDS = Histogram(
    "laurel_batch_records",
    "Records in one batch.",
    buckets=(1, 10, 100, 500, 1000, 2500, 5000, 10000, 20000),
)
EVENT_AGE_SECONDS = BulkHistogram(
    "laurel_event_age_seconds",
    "Time from a record's Kafka timestamp to the commit of the batch that counts it, of every "
    "record of the batch that has one.",
    ("topic",),
    buckets=_AGE_SECONDS,
)
EVENT_LAG_SECONDS = Gauge(
    "laurel_event_lag_seconds",
    "Age of the newest record of the last committed batch, by its Kafka timestamp.",
    ("topic",),
)
CONSUMER_LAG_RECORDS = Gauge(
    "laurel_consumer_lag_records",
    "Records between the ledger and the end of what may be read.",
    ("topic", "partition"),
)
WITHHELD_RECORDS = Gauge(
    "laurel_withheld_records",
    "Records that a broker keeps back until an open transaction before them ends (high watermark "
    "less last stable offset).",
    ("topic", "partition"),
)
PARTITIONS_ASSIGNED = Gauge(
    "laurel_partitions_assigned",
    "Partitions that this worker reads, the paused ones among them; while the group forms, those "
    "of before.",
)
REBALANCES = Counter(
    "laurel_rebalances_total",
    "Times that the consumer group formed anew around this worker; its own coming is one.",
)
PARTITIONS_PAUSED = Gauge(
    "laurel_partitions_paused",
    "Partitions of this worker that wait for an operator (laurel partitions list), by topic and "
    "reason.",
    ("topic", "reason"),
)
LEDGER_EVENTS = Counter(
    "laurel_ledger_events_total",
    "What the offset ledger noticed: skipped (records of a chunk from before a seek), fenced (a "
    "partition whose chunk did not continue it), seek (a partition read again from it after that), "
    "offset_skip_detected (Kafka's committed offset was past it).",
    ("event",),
)
DEAD_LETTERS = Counter(
    "laurel_dead_letters_total",
    "Messages that became dead letters, by the topic that they came by (`file` for a backfill's) "
    "and reason code.",
    ("topic", "reason"),
)
DEAD_LETTERS_REPEATED = Counter(
    "laurel_dead_letters_repeated_total",
    "Dead letters that were there already: the same record was delivered again.",
)
COMMANDS_WAITING = Gauge(
    "laurel_commands_waiting",
    "Commands that wait for their badge or token to come (waiting_command), as of the worker's "
    "last look, some 30 s ago at most.",
)
COMMANDS_EXPIRED = Counter(
    "laurel_commands_expired_total",
    "Commands that waited in vain and became dead letters (also in laurel_dead_letters_total).",
)
LEVELS = Counter(
    "laurel_levels_total",
    "Badges created or raised, by type and the level reached.",
    ("type", "level"),
)
CATALOG_VERSION = Gauge(
    "laurel_catalog_version",
    "Version of the catalog in force, by which each batch counts, as of the worker's last look, "
    "some 3 s ago at most.",
)
CATALOG_JOB_USERS = Gauge(
    "laurel_catalog_job_users",
    "Users whom the unfinished job of a new catalog has evaluated (done), and those whom it has "
    "not (left); 0 where there is none. Counted as laurel_outbox_messages is.",
    ("state",),
)
OUTBOX_MESSAGES = Gauge(
    "laurel_outbox_messages",
    "Messages about badges that are not published yet (outbox_message). Counting has a hundredth "
    "of the time: it comes every 30 s, of ten million every minute or two; NaN where it takes "
    "longer than a statement may.",
)
OUTBOX_OLDEST_SECONDS = Gauge(
    "laurel_outbox_oldest_seconds",
    "Age of the oldest message that is not published, every 30 s; 0 where there is none.",
)
OUTBOX_LAST_PUBLISHED = Gauge(
    "laurel_outbox_last_published_timestamp_seconds",
    "Unix time at which a message was published last; 0 where none ever was: nobody does yet.",
)
TASKS = Gauge(
    "laurel_mint_tasks",
    "Rows of the mint queue by operation, status and hold reason (none when not held), as of the "
    "last count: counting has a hundredth of the time at most.",
    ("operation", "status", "hold"),
)
TASK_OLDEST_SECONDS = Gauge(
    "laurel_mint_task_oldest_seconds",
    "How long the oldest open task of each place waits there, 0 where none does: a held one since "
    "it was held, a pending or sent one since nobody but the minter was waited for.",
    ("operation", "status", "hold"),
)
MINT_STAGE_SECONDS = Histogram(
    "laurel_mint_stage_seconds",
    "Time a mint or burn spends in a stage. wallet: of a mint, from the badge's being due to its "
    "user's wallet being linked, 0 where it was; then, where nobody but the minter is waited for "
    "(no wallet, no person, and of a burn not its mint), queued: to its first signature, sent: "
    "from there to its being seen on chain, total: both.",
    ("operation", "stage"),
    buckets=_STAGE_SECONDS,
)
MINTS = Counter(
    "laurel_mint_decisions_total",
    "What the minter decided about tasks: sign, wait (a burn before its signature), resend, "
    "confirm, sign_again (same index), reassign, park, fail.",
    ("operation", "decision"),
)
NOT_SIGNED = Counter(
    "laurel_mint_not_signed_total",
    "Turns of a type in which nothing was signed, by the message's kind and the code of what "
    "hindered it.",
    ("kind", "code"),
)
SENDS = Counter(
    "laurel_message_sends_total",
    "Signed messages handed to the lite servers, by kind and what became of it: accepted (by one "
    "of them), rejected (by all), unknown. Only the chain says what came of the message.",
    ("kind", "outcome"),
)
RECONCILE_FINDINGS = Gauge(
    "laurel_reconcile_findings",
    "Differences between chain and database in the last run, by kind.",
    ("finding",),
)
RECONCILE_SECONDS = Histogram(
    "laurel_reconcile_seconds", "Time of one reconcile run.", buckets=_MINT_SECONDS
)
RECONCILE_LAST_SUCCESS = Gauge(
    "laurel_reconcile_last_success_timestamp_seconds",
    "When the last reconcile run that came to its end did so (Unix time), whatever it found; 0 "
    "before the first.",
)
CLOCK_AHEAD_SECONDS = Gauge(
    "laurel_clock_ahead_seconds",
    "How far the host's clock is ahead of a witness's: postgresql, to half a round trip; kafka, at "
    "most (where records carry LogAppendTime).",
    ("witness",),
)
RETRIES = Counter(
    "laurel_retries_total",
    "Attempts repeated in place, by what was repeated and the error's code.",
    ("operation", "code"),
)
ERRORS = Counter("laurel_errors_total", "Errors that ended a step, by code.", ("code",))
MINTING_SHUT = Gauge(
    "laurel_minting_shut",
    "1 while nothing is signed: chain and database may know different tokens (see /ready).",
)
COLLECTIONS_STOPPED = Gauge(
    "laurel_collections_stopped",
    "1 for each type whose collection gets no message before a person has looked (laurel queue "
    "list), with the reason; see /ready.",
    ("type", "reason"),
)
CHAIN_SEQNO = Gauge("laurel_chain_seqno", "The newest masterchain block that the minter has seen.")
CHAIN_BLOCK_AGE_SECONDS = Gauge(
    "laurel_chain_block_age_seconds",
    "Age of the newest masterchain block that the minter has seen, by this host's clock.",
)
WALLET_BALANCE_NANOGRAMS = Gauge(
    "laurel_wallet_balance_nanograms", "Balance of the minting wallet in nanograms."
)
WALLET_SPENT_NANOGRAMS = Counter(
    "laurel_wallet_spent_nanograms_total",
    "What left the minting wallet, in nanograms: fees, and what was sent to others and did not "
    "come back. Money that is paid in makes it no smaller. Several minters share the wallet's "
    "transactions among them: add theirs up.",
)
LITE_SERVER_UP = Gauge(
    "laurel_lite_server_up",
    "1 while a lite server of the network's config answers when asked for its newest block, which "
    "it is every few seconds.",
    ("server",),
)
LITE_SERVER_BLOCKS_BEHIND = Gauge(
    "laurel_lite_server_blocks_behind",
    "How many blocks the newest one that a lite server proved is behind the newest one known, when "
    "it was last asked; not a number before its first.",
    ("server",),
)
BUILD_INFO = Gauge("laurel_build_info", "1; what runs here.", ("version", "python"))
READY = Gauge(
    "laurel_ready",
    "1 while the process does its work, 0 while it waits for something (see /ready).",
)


def _start() -> None:
    for event in ("skipped", "fenced", "seek", "offset_skip_detected"):
        LEDGER_EVENTS.labels(event)
    for phase in ("fence", "dedupe", "merge", "decide", "write", "commit"):
        BATCH_PHASE_SECONDS.labels(phase)
    for state in ("done", "left"):
        CATALOG_JOB_USERS.labels(state)
    # Not known before the first block: 0 would be an empty wallet, and a chain that never was.
    for unknown in (CHAIN_SEQNO, CHAIN_BLOCK_AGE_SECONDS, WALLET_BALANCE_NANOGRAMS):
        unknown.set(float("nan"))


_start()
