"""What is wrong with a manifest: every problem at once, each with its place and how to mend it. Pure.

ManifestError          central.yml or the use of it; `.problems` holds them all
+-- CatalogueError     an entry of the catalogue itself is wrong
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """One thing to mend. `str()` is `central.yml:7: servers.git.categry: unknown key; did you mean "category"?`."""

    file: str
    line: int
    """1-based; 0 when the problem has no place in the file."""
    column: int
    where: str
    """Dotted path of keys, e.g. `servers.git.category`; empty for the whole file."""
    what: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        parts = [place, self.where, self.what] if self.where else [place, self.what]
        return ": ".join(parts) + (f"; {self.hint}" if self.hint else "")


class ManifestError(Exception):
    """The manifest cannot be used. `.problems` are in the order of the file; `str()` prints one per line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems)
        super().__init__("\n".join(map(str, self.problems)))


class CatalogueError(ManifestError):
    """An entry of the catalogue is wrong: a fault of this installation, not of the project that uses it."""
