"""`central`: the program of whoever runs or uses the cloud. A client of the engine's socket; it changes nothing itself.

Start-up time is felt with every command, so this module and the command modules import nothing heavy; each command
imports what it needs. Exit codes: errors.py.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from .. import __version__
from . import access, looks, releases
from .command import Json, command, new_app
from .errors import CliError

app = new_app(
    "A private MCP cloud: git push deploys MCP servers, one bridge reaches them all.\n\n"
    "\b\nExit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 no cloud answers; 130 interrupted."
)


@command(app, "up", example="central up\nCENTRAL_PORT=3001 central up")
def up(as_json: Json = False) -> None:
    """Start the cloud of this checkout, with the example fleet. Run again, it only adds what is missing."""
    from .output import print_json
    from .up import up as bring_up

    report = bring_up(as_json)
    if as_json:
        print_json(report)


@command(app, "down", example="central down")
def down(as_json: Json = False) -> None:
    """Stop all that `up` started. Releases, keys and data stay; `up` serves the same releases again."""
    from .down import down as take_down
    from .output import print_json

    report = take_down()
    if as_json:
        print_json(report)
    else:
        print(report["told"])


@command(app, "init", example="cd my-servers && central init PROJECT_my-servers")
def init(
    project: Annotated[str | None, typer.Argument(help="Name of the project; default: PROJECT_<this folder>.")] = None,
    as_json: Json = False,
) -> None:
    """Write a commented central.yml into this folder. One that is there is left alone."""
    from ..manifest import ManifestError, check_project_name, template
    from .output import print_json

    path = Path("central.yml")
    name = project or f"PROJECT_{Path.cwd().name}"
    if path.exists():
        raise CliError(f"{path}: is there already", "edit it; `central plan` checks it")
    try:
        check_project_name(name)
    except (ManifestError, ValueError) as exc:
        raise CliError(f"project {name!r}: {exc}", "central init PROJECT_name") from exc
    path.write_text(template(name))
    if as_json:
        print_json({"file": str(path.absolute()), "project": name})
    else:
        print(f"wrote {path} for {name}; edit it, then: central plan; central project create {name}")


@command(app, "schema", example="central schema > central.schema.json")
def schema() -> None:
    """Print the JSON Schema of central.yml, for editors."""
    from ..manifest import json_schema
    from .output import print_json

    print_json(json_schema())


@command(app, "version", example="central version --json")
def version(as_json: Json = False) -> None:
    """Print the version of this program."""
    from .output import print_json

    if as_json:
        print_json({"central": __version__, "python": sys.version.split()[0]})
    else:
        print(f"central {__version__}")


releases.register(app)
looks.register(app)
access.register(app)


def main() -> None:
    if sys.argv[1:] in (["--version"], ["-V"]):
        print(f"central {__version__}")
        return
    app(prog_name="central")
