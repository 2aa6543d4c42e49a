"""Every state times every observation has one safe decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minter.mint_decision import (
    Confirm,
    Decision,
    Fail,
    Limits,
    Message,
    Observation,
    Park,
    Reassign,
    Resend,
    Sign,
    SignAgain,
    Task,
    Wait,
    decide,
)
from minter.ton.values import Absent, Execution, Token
from store.values.minting import TaskOperation, TaskStatus
from store.values.names import RawAddress

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
OWNER, MINTER, OTHER = (RawAddress(f"0:{digit * 64}") for digit in "123")
EXPECTED = Token(OWNER, MINTER, "badge.json")
DESTROYED = Token(None, None, "badge.json")
REVOKED = replace(EXPECTED, revoked_at=7)
OF_ANOTHER = replace(EXPECTED, owner=OTHER)
UNDER_ANOTHER = replace(EXPECTED, authority=OTHER)
TAKEN = "the item at this index is another token"
LIMITS = Limits(timedelta(seconds=30), timedelta(seconds=10), signatures_max=3, seqno_seen=100)
ITEMS: dict[str, Token | Absent] = {
    "absent": Absent(),
    "as signed": EXPECTED,
    "revoked": REVOKED,
    "destroyed": DESTROYED,
    "another owner": OF_ANOTHER,
    "another authority": UNDER_ANOTHER,
    "another badge": replace(EXPECTED, content="other.json"),
    "another badge, destroyed": replace(DESTROYED, content="other.json"),
}
VALID_UNTIL = NOW + timedelta(minutes=5)
FRESH, LATE = NOW, VALID_UNTIL + timedelta(seconds=31)
IN_MARGIN = VALID_UNTIL + timedelta(seconds=30)


def a_task(
    operation: TaskOperation = TaskOperation.MINT,
    status: TaskStatus = TaskStatus.SENT,
    attempt: int = 1,
    last_sent_at: datetime | None = NOW,
) -> Task:
    message = Message(VALID_UNTIL, last_sent_at) if status is TaskStatus.SENT else None
    return Task(operation, status, attempt, EXPECTED, message)


def seen(item: str, execution: Execution = Execution.NEVER, seqno: int = 100) -> Observation:
    return Observation(seqno, ITEMS[item], execution)


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("time", [FRESH, IN_MARGIN, LATE])
@pytest.mark.parametrize("seqno", [1, 100])
@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("as signed", Confirm(EXPECTED)),
        ("revoked", Confirm(REVOKED)),
        ("destroyed", Confirm(DESTROYED)),
        ("another owner", Confirm(OF_ANOTHER)),
        ("another authority", Confirm(UNDER_ANOTHER)),
        ("another badge", Reassign(TAKEN)),
        ("another badge, destroyed", Reassign(TAKEN)),
    ],
)
def test_an_initialised_item_decides_a_mint_at_once(
    item: str, expected: Decision, execution: Execution, time: datetime, seqno: int
) -> None:
    assert decide(a_task(), seen(item, execution, seqno), time, LIMITS) == expected


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("time", [FRESH, LATE])
@pytest.mark.parametrize("item", ["revoked", "destroyed"])
def test_a_token_that_ended_confirms_a_burn(
    item: str, time: datetime, execution: Execution
) -> None:
    ended = ITEMS[item]
    assert isinstance(ended, Token)
    assert decide(a_task(TaskOperation.BURN), seen(item, execution), time, LIMITS) == Confirm(ended)


@pytest.mark.parametrize("operation", TaskOperation)
@pytest.mark.parametrize(
    ("item", "operations"), [("absent", set(TaskOperation)), ("as signed", {TaskOperation.BURN})]
)
def test_a_lagging_block_proves_nothing_missing(
    operation: TaskOperation, item: str, operations: set[TaskOperation]
) -> None:
    if operation in operations:
        assert decide(a_task(operation, attempt=9), seen(item, seqno=99), LATE, LIMITS) == Wait()


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("time", [FRESH, FRESH + timedelta(minutes=2), VALID_UNTIL, IN_MARGIN])
def test_an_empty_read_before_the_expiry_never_gives_a_message_up(
    time: datetime, execution: Execution
) -> None:
    for attempt, operation in product([1, 99], TaskOperation):
        item = "absent" if operation is TaskOperation.MINT else "as signed"
        assert isinstance(
            decide(a_task(operation, attempt=attempt), seen(item, execution), time, LIMITS),
            Wait | Resend,
        )


@pytest.mark.parametrize(
    ("last_sent_at", "execution", "time", "expected"),
    [
        (None, Execution.NEVER, NOW, Resend()),
        (NOW, Execution.NEVER, NOW + timedelta(seconds=9), Wait()),
        (NOW, Execution.NEVER, NOW + timedelta(seconds=10), Resend()),
        (NOW, Execution.UNKNOWN, NOW + timedelta(seconds=10), Resend()),
        (NOW, Execution.EXECUTED, NOW + timedelta(seconds=10), Wait()),
        (None, Execution.EXECUTED, NOW, Wait()),
        (NOW, Execution.NEVER, VALID_UNTIL, Wait()),
    ],
)
def test_the_same_bytes_are_sent_again_while_they_can_execute(
    last_sent_at: datetime | None, execution: Execution, time: datetime, expected: Decision
) -> None:
    assert (
        decide(a_task(last_sent_at=last_sent_at), seen("absent", execution), time, LIMITS)
        == expected
    )


@pytest.mark.parametrize("operation", TaskOperation)
@pytest.mark.parametrize("execution", Execution)
def test_an_expired_message_is_signed_again_while_signatures_are_left(
    operation: TaskOperation, execution: Execution
) -> None:
    item = "absent" if operation is TaskOperation.MINT else "as signed"
    decision = decide(a_task(operation, attempt=2), seen(item, execution), LATE, LIMITS)
    assert isinstance(decision, SignAgain)


@pytest.mark.parametrize("operation", TaskOperation)
def test_a_message_that_was_never_executed_is_no_attempt(operation: TaskOperation) -> None:
    item = "absent" if operation is TaskOperation.MINT else "as signed"
    decision = decide(a_task(operation, attempt=99), seen(item), LATE, LIMITS)
    assert decision == SignAgain("its message expired unexecuted", unexecuted=True)


@pytest.mark.parametrize("execution", [Execution.EXECUTED, Execution.UNKNOWN])
def test_a_mint_that_was_signed_keeps_its_index_and_is_parked_in_the_end(
    execution: Execution,
) -> None:
    assert isinstance(decide(a_task(attempt=3), seen("absent", execution), LATE, LIMITS), Park)


@pytest.mark.parametrize("execution", [Execution.EXECUTED, Execution.UNKNOWN])
def test_a_burn_without_effect_fails_in_the_end(execution: Execution) -> None:
    decision = decide(
        a_task(TaskOperation.BURN, attempt=3), seen("as signed", execution), LATE, LIMITS
    )
    assert isinstance(decision, Fail)


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("absent", Wait()),
        ("as signed", Sign()),
        ("another owner", Sign()),
        ("revoked", Confirm(REVOKED)),
        ("destroyed", Confirm(DESTROYED)),
        ("another authority", Fail("the token's authority is another wallet")),
    ],
)
def test_a_pending_burn_is_signed_only_where_there_is_something_to_burn(
    item: str, expected: Decision
) -> None:
    assert (
        decide(a_task(TaskOperation.BURN, TaskStatus.PENDING, 0), seen(item), NOW, LIMITS)
        == expected
    )


def test_a_pending_mint_is_signed() -> None:
    assert (
        decide(a_task(status=TaskStatus.PENDING, attempt=0), seen("absent"), NOW, LIMITS) == Sign()
    )


@pytest.mark.parametrize("operation", TaskOperation)
@pytest.mark.parametrize("status", [TaskStatus.CONFIRMED, TaskStatus.FAILED])
def test_a_terminal_task_is_never_decided(operation: TaskOperation, status: TaskStatus) -> None:
    with pytest.raises(ValueError, match="terminal"):
        decide(a_task(operation, status), seen("absent"), NOW, LIMITS)


times = st.timedeltas(timedelta(0), timedelta(hours=2)).map(NOW.__add__)


@given(
    operation=st.sampled_from(TaskOperation),
    status=st.sampled_from([TaskStatus.PENDING, TaskStatus.SENT]),
    item=st.sampled_from(sorted(ITEMS)),
    execution=st.sampled_from(Execution),
    attempt=st.integers(1, 10),
    seqno=st.integers(0, 200),
    time=times,
    last_sent_at=st.none() | times,
)
def test_no_picture_leads_to_a_second_token_or_a_lost_one(
    operation: TaskOperation,
    status: TaskStatus,
    item: str,
    execution: Execution,
    attempt: int,
    seqno: int,
    time: datetime,
    last_sent_at: datetime | None,
) -> None:
    task = a_task(operation, status, attempt, last_sent_at)
    decision = decide(task, seen(item, execution, seqno), time, LIMITS)
    if isinstance(decision, Resend):
        assert time < VALID_UNTIL, "resent when it cannot execute"
    if isinstance(decision, SignAgain | Park | Fail) and status is TaskStatus.SENT:
        assert time > VALID_UNTIL + LIMITS.expiry_margin, "given up before its expiry"
        assert seqno >= LIMITS.seqno_seen, "given up on an old block"
    if isinstance(decision, Confirm) and operation is TaskOperation.MINT:
        token = ITEMS[item]
        assert isinstance(token, Token)
        assert token.content == EXPECTED.content, "confirmed another's token"
    if isinstance(decision, Reassign):
        token = ITEMS[item]
        assert isinstance(token, Token), "an index was given up without proof"
        assert token.content != EXPECTED.content, "a badge lost the token it has"
    assert not (operation is TaskOperation.MINT and isinstance(decision, Fail)), (
        "a signed mint leaves a hole"
    )
