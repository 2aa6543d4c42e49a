"""What a PromQL expression asks for: its metrics with their label matchers, and the labels that it
groups by.

No parser: Prometheus itself parses what is held here, and this finds names in what it takes.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*') | (?P<range>\[[^\]]*\]) | (?P<number>\d[\w.]*)
      | (?P<name>[a-zA-Z_:][\w:]*) | (?P<sign>[^\s])""",
    re.VERBOSE,
)
_GROUPING = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass(frozen=True, slots=True)
class Selector:
    """A metric with its matchers, as they are written; `labels` are those that they name."""

    metric: str
    matchers: str = ""
    labels: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.metric}{{{self.matchers}}}" if self.matchers else self.metric


@dataclass(frozen=True, slots=True)
class Asked:
    """What an expression asks for; `grouped` are the labels of its groupings and matchings."""

    selectors: tuple[Selector, ...]
    grouped: frozenset[str]


def asked(expression: str) -> Asked:
    """Return what `expression` asks for."""
    tokens = [
        (str(found.lastgroup), found[0])
        for found in _TOKEN.finditer(re.sub(r"#.*", "", expression))
    ]
    selectors, grouped = [], set()
    at = 0
    while at < len(tokens):
        kind, word = tokens[at]
        following = tokens[at + 1][1] if at + 1 < len(tokens) else ""
        at += 1
        if kind != "name" or word.lower() in _WORDS:
            continue
        if word in _GROUPING:
            if following == "(":
                end = tokens.index(("sign", ")"), at)
                grouped |= {text for kind, text in tokens[at:end] if kind == "name"}
                at = end
        elif following == "{":
            end = tokens.index(("sign", "}"), at)
            inside = tokens[at + 1 : end]
            labels = frozenset(text for kind, text in inside if kind == "name")
            matchers = "".join(text for _, text in inside)
            selectors.append(Selector(word, matchers, labels))
            at = end
        elif following != "(" and following not in _GROUPING:  # no function, no aggregation
            selectors.append(Selector(word))
    return Asked(tuple(selectors), frozenset(grouped))
