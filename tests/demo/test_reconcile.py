"""What `laurel reconcile` says, read by the demo."""

import json

import pytest

from demo.reconcile import Finding, ReconcileReport, reconcile
from demo.stack.processes import CommandFailed, CommandResult


class AStack:
    """A stack whose every command says the same."""

    def __init__(self, said: CommandResult) -> None:
        self.said = said
        self.words: tuple[str, ...] = ()

    async def run(self, *words: str) -> CommandResult:
        self.words = words
        return self.said

    def talk(self) -> str:
        return "what it logged"


async def test_its_findings_are_read() -> None:
    document = {
        "findings": [
            {"finding": "destroyed", "instance_id": "a-badge", "token_id": "0:ab", "repair": None},
            {"finding": "index gap", "instance_id": None, "token_id": None, "repair": None},
        ],
        "left": 2,
    }
    stack = AStack(CommandResult(1, json.dumps(document)))
    assert await reconcile(stack, "--repair") == ReconcileReport(
        1, [Finding("destroyed", "a-badge", "0:ab"), Finding("index gap", "", "")], 2
    )
    assert stack.words == ("reconcile", "--json", "--repair")


@pytest.mark.parametrize("output", ["", "[]", "{}", '{"findings": [{}], "left": 0}'])
async def test_no_report_is_an_error_with_its_log(output: str) -> None:
    with pytest.raises(CommandFailed, match=r"(?s)ended with 2 and no report.*what it logged"):
        await reconcile(AStack(CommandResult(2, output)))
