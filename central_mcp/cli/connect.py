"""The `mcp.json` entry of the bridge, and its place in the files of Claude, Cursor and VS Code.

Pure but for `write_entry`, which replaces one file and loses no other entry of it.
"""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CliError

ENTRY = "central-provider"


@dataclass(frozen=True)
class Client:
    """Where an MCP client reads its servers from, relative to the folder of the work."""

    file: str
    key: str
    """The object that holds the servers by name."""
    typed: bool
    """The client wants `"type": "stdio"` in the entry."""


CLIENTS = {
    "claude": Client(".mcp.json", "mcpServers", typed=False),
    "cursor": Client(".cursor/mcp.json", "mcpServers", typed=False),
    "vscode": Client(".vscode/mcp.json", "servers", typed=True),
}


def entry(bridge: Path, url: str, project: str, client_id: str, key_file: Path) -> dict[str, Any]:
    """The bridge as a client starts it. The key stays in its file: `file:` is read by the bridge itself."""
    return {
        "command": str(bridge),
        "env": {
            "CENTRAL_MCP_URL": url,
            "PROJECT_NAME": project,
            "CLIENT_ID": client_id,
            "API_KEY": f"file:{key_file}",
        },
    }


def merged(text: str, client: Client, name: str, value: dict[str, Any], file: Path) -> str:
    """`text` (a client's file, may be empty) with `name` set to `value` and all else as it was. Raises `CliError`."""
    typed = ', with "type": "stdio"' if client.typed else ""
    by_hand = f"put the entry under its `{client.key}` by hand{typed}: central connect --client print --name {name}"
    try:
        document = json.loads(text) if text.strip() else {}
    except ValueError as exc:
        raise CliError(f"{file}: not plain JSON ({exc}), so it is left as it is", by_hand) from exc
    if not isinstance(document, dict) or not isinstance(document.setdefault(client.key, {}), dict):
        raise CliError(f"{file}: `{client.key}` is not an object, so it is left as it is", by_hand)
    document[client.key][name] = {"type": "stdio", **value} if client.typed else value
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def write_entry(folder: Path, client: Client, name: str, value: dict[str, Any]) -> tuple[Path, bool]:
    """Merge the entry into the client's file in `folder`; (file, whether it changed). Raises `CliError`."""
    file = folder / client.file
    target = file.resolve()  # a link to a dotfiles repository stays a link
    try:
        text = target.read_text() if target.exists() else ""
        wanted = merged(text, client, name, value, file)
        if wanted == text:
            return file, False
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(target, wanted)
    except (OSError, UnicodeDecodeError) as exc:
        raise CliError(f"{file}: {exc}", "make the file writable, or: central connect --client print") from exc
    return file, True


def replace(path: Path, text: str) -> None:
    """All of `text` or the old content, never a part. Keeps the mode of a file that is there."""
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
