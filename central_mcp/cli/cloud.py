"""The cloud that a command talks to: its home, its engine, and which of its projects is meant."""

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import CliError, Unreachable, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..home import Home

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def default_root() -> Path:
    """CENTRAL_HOME, else `.central` of this checkout: the home that `make up` makes."""
    named = os.environ.get("CENTRAL_HOME")
    return Path(named).absolute() if named else CHECKOUT / ".central"


class Cloud:
    """Found once a command needs it, so that `--help` and `version` read nothing."""

    @cached_property
    def home(self) -> "Home":
        from ..home import Home, HomeError

        try:
            home = Home.find()
            _ = home.settings
        except HomeError as exc:
            raise Unreachable(str(exc).partition(". ")[0], "make up (in the checkout), or set CENTRAL_HOME") from exc
        return home

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The engine's answer. Raises `CliError`."""
        answer: dict[str, Any] = {}
        for message in self.stream(do, **arguments):
            answer = message.get("done", answer)
        return answer

    def stream(self, do: str, **arguments: Any) -> "Iterator[dict[str, Any]]":
        """The engine's messages: events, then `done`. Raises `CliError`."""
        from ..engine.client import Engine, EngineError, EngineUnreachable

        given = {name: value for name, value in arguments.items() if value is not None}
        try:
            yield from Engine(self.home.engine_socket).stream(do, **given)
        except EngineUnreachable as exc:
            raise Unreachable(exc.message, exc.hint or "make up") from exc
        except EngineError as exc:
            raise CliError(exc.message, exc.hint, exc.code) from exc

    def project(self, named: str | None, folder: Path | None = None) -> str:
        """`named`, else the project of `folder`'s central.yml, else the cloud's only one. Raises `UsageError`."""
        if named:
            return named
        declared = declared_project(folder or Path.cwd())
        if declared:
            return declared
        known = [str(project["name"]) for project in self.ask("project.list")["projects"]]
        if len(known) == 1:
            return known[0]
        raise UsageError(
            f"project: there are {len(known)} ({', '.join(known) or 'none'}) and no central.yml in this folder",
            "name one: --project NAME" if known else "central project create PROJECT_name",
        )


def declared_project(folder: Path) -> str | None:
    """`project:` of the central.yml in `folder`; None without one. Raises `CliError` when it cannot be read."""
    path = folder / "central.yml"
    if not path.is_file():
        return None
    from ..manifest import ManifestError, load

    try:
        return load(path.read_bytes()).project
    except ManifestError as exc:
        raise CliError(str(exc), "mend central.yml; `central plan` checks it again") from exc
