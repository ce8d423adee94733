"""Notes in one SQLite file. Knows nothing of MCP; several processes may share the file."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_SCHEMA = "CREATE TABLE IF NOT EXISTS notes (title TEXT PRIMARY KEY, text TEXT NOT NULL)"


@dataclass(frozen=True)
class Note:
    title: str
    text: str


class Store:
    def __init__(self, file: Path) -> None:
        self._file = file
        with self._open() as database:
            database.execute(_SCHEMA)

    def put(self, note: Note) -> None:
        """Keep `note`; one with the same title is replaced."""
        with self._open() as database:
            database.execute("INSERT OR REPLACE INTO notes VALUES (?, ?)", (note.title, note.text))

    def get(self, title: str) -> Note | None:
        with self._open() as database:
            row = database.execute("SELECT title, text FROM notes WHERE title = ?", (title,)).fetchone()
        return Note(*row) if row else None

    def delete(self, title: str) -> bool:
        """Whether there was one."""
        with self._open() as database:
            return database.execute("DELETE FROM notes WHERE title = ?", (title,)).rowcount > 0

    def search(self, text: str) -> list[Note]:
        """Notes that hold `text` in title or text, in the order of their titles; all of them for an empty text."""
        pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
        query = (
            "SELECT title, text FROM notes WHERE title LIKE ?1 ESCAPE '\\' OR text LIKE ?1 ESCAPE '\\' ORDER BY title"
        )
        with self._open() as database:
            return [Note(*row) for row in database.execute(query, (pattern,))]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction: commits at the end, waits for another process up to 10 s."""
        with closing(sqlite3.connect(self._file, timeout=10)) as database, database:
            yield database
