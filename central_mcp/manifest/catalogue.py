"""The catalogue: one YAML file for each well-known server, `catalogue/<category>/<name>.yml`.

Reads files, writes none. Rollouts resolve `use:` with it, the CLI lists it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from central_mcp.manifest import rules
from central_mcp.manifest.document import read
from central_mcp.manifest.errors import CatalogueError
from central_mcp.manifest.load import validate
from central_mcp.manifest.model import Category, Env, Health, Limits, Pin, Run, _package, _Part


class Entry(_Part):
    """One well-known server, measured with exactly this version."""

    name: str
    category: Category
    description: str = Field(min_length=1)
    package: Annotated[str, AfterValidator(_package)]
    pins: tuple[Pin, ...] = ()
    run: Run | None = None
    env: Env = Field(default_factory=dict)
    sessions: Literal["shared", "per-principal", "per-client"] = "per-principal"
    data: Literal["folder", "git"] = "folder"
    """What `{data}` is at the first start: an empty folder, or a git repository with one commit."""
    limits: Limits = Field(default_factory=Limits)
    scripts: bool = False
    health: Health | None = None
    """A call that works right after the first start and shows that the server does its job."""
    homepage: str = ""
    licence: str = ""
    notes: str = ""


class Catalogue(Mapping[str, Entry]):
    """Entries by name."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self._entries = dict(sorted(entries.items()))

    @classmethod
    def read(cls, folder: Path | None = None) -> "Catalogue":
        """The catalogue of this installation, or of `folder`. Raises `CatalogueError`, naming file and line."""
        folder = folder or find()
        entries = [_entry(path) for path in sorted(folder.glob("*/*.yml"))]
        return cls({entry.name: entry for entry in entries})

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def find() -> Path:
    """`catalogue/` of the checkout, or the copy inside the installed package."""
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent / "catalogue"
    return checkout if checkout.is_dir() else package / "catalogue"


def _entry(path: Path) -> Entry:
    document = read(path.read_bytes(), str(path), lambda place: len(place) == 2 and place[0] in ("env", "run"))
    document.data |= {"name": path.stem, "category": path.parent.name}
    for key in ("name", "category"):
        if (key,) in document.keys:
            document.report((key,), "is the file's own place", "remove it", key=True)
    entry = validate(Entry, document)
    if entry is None or document.problems:
        raise CatalogueError(document.problems)
    rules.check_server_name(entry.name)
    return entry
