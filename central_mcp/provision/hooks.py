"""The `hooks` role: this checkout's hooks, once for all repositories, run by the VM side's own interpreter."""

from pathlib import Path

from ..home import Home
from ..registry.store import write_atomic
from .outcome import Outcome, ProvisionError

NAMES = ("pre-receive", "proc-receive", "post-receive")
MAX_SHEBANG = 120
"""Bytes. The kernel cuts a longer first line, and it knows no quotes."""


def install(home: Home, source: Path, *, check: bool = False) -> Outcome:
    """Put the hooks in `source` into `home.hooks`, each starting with `settings.python`. Raises `ProvisionError`."""
    outcome = Outcome()
    for name in NAMES:
        try:
            text = (source / name).read_text()
        except OSError as exc:
            raise ProvisionError(f"hook {source / name}: {exc.strerror}. Is this a whole checkout?") from exc
        wanted = with_interpreter(text, home.settings.python)
        path = home.hooks / name
        present = path.read_text() if path.exists() else ""
        if present == wanted and path.stat().st_mode & 0o777 == 0o755:
            continue
        outcome.did(f"hook {name}")
        outcome.before += present
        outcome.after += wanted
        if not check:
            write_atomic(path, wanted.encode(), 0o755)
    return outcome


def with_interpreter(text: str, python: Path) -> str:
    """`text` with a first line that starts `python`; through /bin/sh when the kernel could not read it."""
    body = text.split("\n", 1)[1] if text.startswith("#!") else text
    line = f"#!{python}"
    if " " not in line and len(line.encode()) <= MAX_SHEBANG:
        return f"{line}\n{body}"
    return f"#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n{body}"
