"""Reading and writing the snapshot and the tool lists beside it. Whole or not at all.

Every write goes to a temporary name, is synced, then renamed: a reader sees the old file or the new one, and a full
disk or a kill -9 leaves the old one. Only the engine writes.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from .model import FORMAT, Snapshot

SNAPSHOT = "snapshot.json"
_decode = msgspec.json.Decoder(Snapshot).decode
_decode_tools = msgspec.json.Decoder(list[msgspec.Raw]).decode


class RegistryError(Exception):
    """The registry on disk cannot be used; the message names the file and why."""


@contextmanager
def replacing(path: Path, data: bytes, mode: int = 0o644) -> Iterator[None]:
    """Put `data` beside `path`, synced; run the body; then rename. The body failing leaves `path` as it was.

    So a commit elsewhere can stand in the body, with nothing after it that a full disk could stop. Raises `OSError`.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        yield
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace `path` by `data` in one step. Raises `OSError` (disk full, say) and then leaves `path` as it was."""
    with replacing(path, data, mode):
        pass


def remove_unfinished(folder: Path) -> list[str]:
    """Remove what a writer that was killed left beside the files of `folder`; the names. Only while nobody writes."""
    left = [path for path in folder.glob(".*.????????") if path.is_file() and not path.is_symlink()]
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


def read(registry: Path) -> Snapshot:
    """The snapshot in folder `registry`. An empty folder reads as version 0. Raises `RegistryError`."""
    path = registry / SNAPSHOT
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Snapshot(version=0)
    except OSError as exc:
        raise RegistryError(f"{path}: {exc.strerror}") from exc
    try:
        snapshot = _decode(data)
    except msgspec.DecodeError as exc:
        raise RegistryError(f"{path}: {exc}") from exc
    if snapshot.format != FORMAT:
        raise RegistryError(
            f"{path}: format {snapshot.format}, this program reads {FORMAT}; restart it after an upgrade"
        )
    return snapshot


def write(registry: Path, snapshot: Snapshot) -> None:
    """Make `snapshot` the one that readers find. Raises `OSError` and then changes nothing."""
    with writing(registry, snapshot):
        pass


def writing(registry: Path, snapshot: Snapshot) -> AbstractContextManager[None]:
    """`write` with a body that runs when the new snapshot is safe on disk but not yet in place; see `replacing`."""
    return replacing(registry / SNAPSHOT, msgspec.json.format(msgspec.json.encode(snapshot), indent=1))


def tools_file(registry: Path, sha: str) -> Path:
    """Where the tool list `sha` lies, whether it is there or not."""
    return registry / "tools" / f"{sha}.json"


def write_tools(registry: Path, tools: Sequence[Any]) -> str:
    """Keep a tool list under its content's hash, return the hash. Writing the same list again costs nothing."""
    data = msgspec.json.encode(tools)
    sha = hashlib.sha256(data).hexdigest()[:32]
    path = tools_file(registry, sha)
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        write_atomic(path, data)
    return sha


def read_tools(registry: Path, sha: str) -> list[msgspec.Raw]:
    """The tool list `sha`, each tool raw JSON, untouched. Raises `RegistryError`."""
    path = tools_file(registry, sha)
    try:
        return _decode_tools(path.read_bytes())
    except (OSError, msgspec.DecodeError) as exc:
        raise RegistryError(f"{path}: {exc}") from exc
