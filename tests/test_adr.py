"""The index of decisions says what their pages say."""

import re
from pathlib import Path

ADR = Path(__file__).parent.parent / "docs" / "adr"
STATUS = r"accepted|superseded by \d+|proposed"


def test_index_and_pages_are_equal() -> None:
    pages = set()
    for page in sorted(ADR.glob("[0-9]*.md")):
        found = re.match(
            rf"# (\d+)\. (.+)\n\nStatus: ({STATUS})\nDate: (\d{{4}}-\d\d-\d\d)\n", page.read_text()
        )
        assert found is not None, f"{page.name}: no title, Status: and Date: as in the others"
        number, title, status, date = found.groups()
        assert page.name.startswith(f"{int(number):04}-")
        pages.add((number, title, page.name, status, date))
    index = (ADR / "README.md").read_text()
    row = r"^\| (\d+) \| \[(.+)\]\((\S+)\) \| (.+) \| (\S+) \|$"
    assert set(re.findall(row, index, re.MULTILINE)) == pages


def test_a_number_without_a_page_is_explained() -> None:
    index = (ADR / "README.md").read_text()
    numbers = [int(page.name[:4]) for page in ADR.glob("[0-9]*.md")]
    for missing in set(range(1, max(numbers) + 1)) - set(numbers):
        assert re.search(rf"^\| {missing} \| \w.+ \| – \| – \|$", index, re.MULTILINE), missing
