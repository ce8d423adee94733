"""How commands answer: a table or lines for a person, `--json` for a program, `error:` and `next:` on stderr.

rich is imported only when a terminal or a table asks for it; it costs 60 ms.
"""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any, TextIO


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "none") -> None:
    """Columns as wide as their content, no frame: reads the same on a terminal, in a pipe and in a log."""
    cells = [[_text(cell) for cell in row] for row in rows]
    if not cells:
        print(empty)
        return
    widths = [max(len(row[i]) for row in [list(columns), *cells]) for i in range(len(columns))]
    for row in [list(columns), *cells]:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _text(cell: Any) -> str:
    if cell is None or cell == "":
        return "-"
    return f"{cell:.1f}" if isinstance(cell, float) else str(cell)


def print_error(message: str, next_step: str, code: int, as_json: bool) -> None:
    if as_json:
        print_json({"error": {"message": message, "next": next_step, "exit": code}})
        return
    print(f"error: {message}", file=sys.stderr)
    if next_step:
        print(f"next:  {next_step}", file=sys.stderr)


def age(unix: float, now: float | None = None) -> str:
    """How long ago, in the largest unit that fits: `42 s`, `7 min`, `3 h`, `5 d`."""
    seconds = max(0.0, (time.time() if now is None else now) - unix)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


class Steps:
    """Progress of a long command: a spinner with the step at work on a terminal, one plain line a step otherwise."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self._status: Any = None
        self._what = ""
        self._since = 0.0
        if self.stream.isatty():
            from rich.console import Console

            self._console: Any = Console(file=self.stream, highlight=False)
        else:
            self._console = None

    def start(self, what: str) -> None:
        """Begin a step; `done` or the next `start` ends it."""
        self.done()
        self._what, self._since = what, time.monotonic()
        if self._console:
            self._status = self._console.status(what)
            self._status.start()

    def detail(self, text: str) -> None:
        """What the step is at now; only a terminal shows it."""
        if self._status:
            self._status.update(f"{self._what}: {text}")

    def line(self, text: str) -> None:
        """One line of the step's own output, kept."""
        if self._console:
            self._console.print(text, markup=False)
        else:
            print(text, file=self.stream, flush=True)

    def done(self, result: str = "") -> None:
        """End the step at work with one line: what, result, seconds."""
        self.abandon()
        if self._what:
            told = f"{self._what}: {result}" if result else self._what
            self.line(f"{told} ({time.monotonic() - self._since:.1f} s)")
            self._what = ""

    def abandon(self) -> None:
        """Take the spinner away without a word; called before an error is printed."""
        if self._status:
            self._status.stop()
            self._status = None
