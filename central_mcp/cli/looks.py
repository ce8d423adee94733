"""Commands that only look: status, logs, watch, doctor."""

import contextlib
import sys
from typing import Annotated

import typer

from .cloud import Cloud
from .command import Json, Project, command
from .errors import CliError
from .output import print_json


def status(as_json: Json = False) -> None:
    """Say what serves, what was refused and why; all servers."""
    from .status import print_status

    answer = Cloud().ask("status")
    if as_json:
        print_json(answer)
    else:
        print_status(answer)


def logs(
    server: Annotated[str, typer.Argument(help="A server, or engine, router, coordinator, supervisord, keeper.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines to begin with.")] = 50,
) -> None:
    """Print the last lines that a server or program logged."""
    from . import logs as files

    cloud = Cloud()
    paths = files.find(cloud.home, server)
    if not paths and silent(cloud, server):
        print(f"{server} has written nothing yet", file=sys.stderr)
        return
    if not paths:
        raise CliError(f"{server}: no log in {cloud.home.log}", f"there are: {', '.join(files.names(cloud.home))}")
    with contextlib.suppress(KeyboardInterrupt) if follow else contextlib.nullcontext():
        files.show(paths, lines, follow)


def silent(cloud: Cloud, name: str) -> bool:
    """There is such a server, as far as the cloud can be asked; it has just not written anything."""
    with contextlib.suppress(CliError):
        return name in {server["name"] for server in cloud.ask("status")["servers"]}
    return False


def watch(
    project: Project = None,
    count: Annotated[int, typer.Option("--count", min=0, help="End after so many readings; 0: until Ctrl-C.")] = 0,
    every: Annotated[float, typer.Option("--every", min=0.2, help="Seconds between two readings.")] = 1.0,
    as_json: Json = False,
) -> None:
    """Show servers and rollouts as they change, until Ctrl-C."""
    from .status import watch as keep_watching

    with contextlib.suppress(KeyboardInterrupt):
        keep_watching(Cloud(), project, count, every, as_json)


def doctor(as_json: Json = False) -> None:
    """Check this machine and the cloud; say what to do. Exit 1 if something is wrong."""
    from .doctor import examine, print_findings

    findings = examine(Cloud())
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        print_findings(findings)
    if any(finding.state == "wrong" for finding in findings):
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    command(app, "status", example="central status --json")(status)
    command(app, "logs", example="central logs git -f")(logs)
    command(app, "watch", example="central watch --count 10")(watch)
    command(app, "doctor", example="central doctor")(doctor)
