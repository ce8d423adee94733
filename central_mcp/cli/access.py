"""Commands that let a client in: key, connect."""

from pathlib import Path
from typing import Annotated

import typer

from .cloud import Cloud
from .command import Json, Project, command, new_app
from .connect import CLIENTS, ENTRY
from .errors import UsageError
from .output import age, print_json, print_table

key_app = new_app("API keys. A key belongs to one project; the cloud keeps only its hash.")


@command(key_app, "create", example="central key create --project PROJECT_fleet --name ci")
def key_create(
    project: Project = None,
    name: Annotated[str, typer.Option("--name", "-n", help="What the key is for.")] = "",
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    cloud = Cloud()
    made = cloud.ask("key.create", project=cloud.project(project), name=name)
    if as_json:
        print_json(made)
    else:
        print(made["key"])


@command(key_app, "list", example="central key list")
def key_list(as_json: Json = False) -> None:
    """List the keys: id, project, name, age. Never the keys themselves."""
    keys = Cloud().ask("key.list")["keys"]
    if as_json:
        print_json(keys)
        return
    rows = [[k["id"], k["project"], k.get("name"), age(k["created"]) if k.get("created") else None] for k in keys]
    print_table(("ID", "PROJECT", "NAME", "AGE"), rows, empty="none yet: central key create")


@command(key_app, "revoke", example="central key revoke 4f1c2a")
def key_revoke(identity: Annotated[str, typer.Argument(metavar="ID")], as_json: Json = False) -> None:
    """End a key now: its connections are closed, its calls refused."""
    done = Cloud().ask("key.revoke", id=identity)
    if as_json:
        print_json(done)
    else:
        print(f"{identity}: revoked")


def connect(
    client: Annotated[str, typer.Option("--client", "-c", help="claude, cursor, vscode, or print.")],
    project: Project = None,
    name: Annotated[str, typer.Option("--name", "-n", help="Name of the entry.")] = ENTRY,
    as_json: Json = False,
) -> None:
    """Put the bridge into a client's file in this folder.

    Its other entries stay. `print` only shows the entry.
    """
    from .connect import write_entry
    from .up import mcp_entry

    if client not in (*CLIENTS, "print"):
        raise UsageError(f"client {client!r}: not known", f"one of {', '.join(CLIENTS)}, print")
    cloud = Cloud()
    value = mcp_entry(cloud, cloud.project(project))
    if client == "print":
        print_json({"mcpServers": {name: value}})
        return
    file, changed = write_entry(Path.cwd(), CLIENTS[client], name, value)
    if as_json:
        print_json({"file": str(file), "changed": changed, "entry": {name: value}})
        return
    print(f"{file}: {'wrote' if changed else 'has already'} `{name}`")
    print_json({name: value})


def register(app: typer.Typer) -> None:
    app.add_typer(key_app, name="key")
    command(app, "connect", example="cd my-work && central connect --client claude")(connect)
