#!/usr/bin/env python3
"""Writes docs/manifest.md from the model and the catalogue; `--check` only says whether it is current."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "manifest.md"
sys.path.insert(0, str(ROOT))

from pydantic import BaseModel  # noqa: E402
from pydantic.fields import FieldInfo  # noqa: E402

from central_mcp.manifest import CATEGORIES, Catalogue, Manifest, ServerSpec, json_schema  # noqa: E402

HEAD = """\
# central.yml

Written by `scripts/manifest_reference.py` from the model in `central_mcp/manifest/model.py`; change it there.

What a project runs, at the root of its repository. `central init` writes a first one, `central schema` prints the JSON
Schema for editors, `central plan` checks it and says what a push would change. A mistake is told with file, line, cause
and cure, all at once; an unknown key is a mistake.

Sizes are written as `512M` or `2G` (powers of 1024), times as `500ms`, `60s`, `10m`, `1h30m`, shares as `1%`, growth
as `2x`. In `run` and `env` these words are filled in: `{data}`, the server's own folder, which outlives releases;
`{source}`, its code; `{env}`, its environment; `{python}` and `{node}`, the interpreters. A server sees no environment
variables but these: `PATH`, `HOME` (its data folder), `LANG`, `CENTRAL_SERVER`, `CENTRAL_DATA`, the machine's `TZ` and
certificate files, `PYTHONPATH` for source in Python, and what `env` adds.

A server from source is built from its `requirements.txt` if that has hashes, else from `uv.lock`, else a lock is made
from `requirements.in`, `requirements.txt` or `pyproject.toml` at the first build and kept; for node the same with
`package-lock.json` and `package.json`. Only wheels are installed and no install script runs, unless it says
`scripts: true`. Python finds the code in the folder itself and in its `src/`.
"""
DEFAULTS = {
    "category": "the catalogue's, else required",
    "run": "the package's only program",
    "sessions": "the catalogue's, else `per-principal`",
    "limits.memory": "`512M`",
    "limits.idle": "`10m`",
    "limits.call": "`60s`",
    "health": "negotiation and tools/list",
    "health.timeout": "`5s`",
    "rollout.watch": "`60s`",
    "rollout.thresholds.errors": "`1%`",
    "rollout.thresholds.p95": "`2x`",
}


def reference() -> str:
    properties = json_schema()["$defs"]["ServerSpec"]["properties"]
    parts = [HEAD, "\n## The file\n\n| key | what it is |\n|---|---|\n"]
    parts += [f"| `{name}` | {field.description} |\n" for name, field in Manifest.model_fields.items()]
    parts.append("\n## A server\n\n| key | values | default | what it is |\n|---|---|---|---|\n")
    for key, field, model in keys(ServerSpec):
        meaning = (field.description or (model.__doc__ if model else "") or "").strip().rstrip(".")
        parts.append(f"| `{key}` | {values(field)} | {default(key, field)} | {meaning.strip().rstrip('.')} |\n")
    assert set(properties) == {field.alias or name for name, field in ServerSpec.model_fields.items()}
    parts.append("\n## Categories\n\n| category | ports on loopback |\n|---|---|\n")
    parts += [f"| {name} | {ports[0]}-{ports[-1]} |\n" for name, ports in CATEGORIES.items()]
    parts.append("\n## The catalogue\n\n`use: NAME` takes a server as it was measured, with this version.\n\n")
    parts.append("| name | category | package | what it does | notes |\n|---|---|---|---|---|\n")
    for name, entry in Catalogue.read().items():
        notes = " ".join(entry.notes.split())
        parts.append(f"| `{name}` | {entry.category} | `{entry.package}` | {entry.description} | {notes} |\n")
    return "".join(parts)


def keys(model: type[BaseModel], before: str = "") -> Iterator[tuple[str, FieldInfo, type[BaseModel] | None]]:
    """Every key with its dotted place, in the order of the model."""
    for name, field in model.model_fields.items():
        key = before + (field.alias or name)
        inner = next((part for part in (field.annotation, *get_args(field.annotation)) if is_model(part)), None)
        yield key, field, inner
        if inner is not None:
            yield from keys(inner, key + ".")


def is_model(part: Any) -> bool:
    return isinstance(part, type) and issubclass(part, BaseModel)


def values(field: FieldInfo) -> str:
    parts = (field.annotation, *get_args(field.annotation))
    words = [word for part in parts for word in get_args(part) if isinstance(word, str)]
    if words:
        return ", ".join(f"`{word}`" for word in words)
    if field.annotation is bool:
        return "`true`, `false`"
    low = next((m.ge for m in field.metadata if hasattr(m, "ge")), None)
    high = next((m.le for m in field.metadata if hasattr(m, "le")), None)
    return f"{low} to {high}" if field.annotation is int and low is not None and high is not None else ""


def default(key: str, field: FieldInfo) -> str:
    if key in DEFAULTS:
        return DEFAULTS[key]
    value = None if field.is_required() else field.get_default()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, (str, int, float)) and value != "" else ""


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
