#!/usr/bin/env python3
"""Writes docs/settings.md from the pydantic model; `--check` only says whether it is current (a test asks that)."""

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "settings.md"
sys.path.insert(0, str(ROOT))

from central_mcp.home import Settings  # noqa: E402

HEAD = """\
# Settings

Written by `scripts/settings_reference.py` from the model in `central_mcp/home.py`; change it there.

One cloud's settings are in `etc/settings.json` of its home (`.central` in the checkout). `make up` writes the file,
keeps what is in it, and restarts what must read a changed value. `CENTRAL_PORT`, `CENTRAL_HOST` and `CENTRAL_RUN` in
the environment of `make up` set `port`, `host` and `run`; `CENTRAL_HOME` names another home.
On a machine without root, which is what `make up` provisions, `isolation` is `none` and `service` is `detached`.

| name | type | range | default | what it does |
|---|---|---|---|---|
"""
CHOSEN = {
    "run": "`run` in the home if socket paths fit in 100 bytes, else a folder in the temporary folder",
    "coordinators": "cores, at most 4",
    "python": "the interpreter of `.venv`",
    "node": "node on PATH if >= 20 and npm is beside it, else the one in `.venv`",
    "npm": "the one that belongs to `node`",
    "uv": "the one in `.venv`",
    "playbooks": "`playbooks` of the checkout",
}
"""Defaults that provisioning finds on the machine."""


def reference() -> str:
    properties = Settings.model_json_schema(mode="serialization")["properties"]
    rows = []
    for name, field in Settings.model_fields.items():
        schema = properties[name]
        default = CHOSEN.get(name) or f"`{shown(field.get_default())}`"
        rows.append(f"| `{name}` | {kind(schema)} | {bounds(schema)} | {default} | {field.description} |")
    return HEAD + "\n".join(rows) + "\n"


def kind(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind(option) for option in schema["anyOf"])
    if schema.get("format") == "path":
        return "path"
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    return {"string": "text", "integer": "number", "number": "number", "null": "null"}.get(
        schema.get("type", ""), "any"
    )


def bounds(schema: dict[str, Any]) -> str:
    words = (("minimum", "from"), ("exclusiveMinimum", "above"), ("maximum", "to"), ("exclusiveMaximum", "below"))
    return " ".join(f"{word} {schema[key]:g}" for key, word in words if key in schema) or "-"


def shown(value: Any) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    text = reference()
    if parser.parse_args().check:
        return 0 if REFERENCE.exists() and REFERENCE.read_text() == text else 1
    REFERENCE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
