"""What is wrong with a document, and where: one record from the grammar of conditions to the line.

Who reads conditions knows keys alone; who read the file adds the line
(processor/catalog/yaml_source.py). Pure.
"""

from dataclasses import dataclass

# Keys and list positions from the root of a document.
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class SourceLocation:
    """A line of a file, counted from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem, and the way out; `location` is None until a file is known."""

    path: KeyPath
    message: str
    location: SourceLocation | None = None

    def __str__(self) -> str:
        where = (str(self.location or ""), ".".join(map(str, self.path)))
        return ": ".join((*filter(None, where), self.message))
