"""The registry snapshot: model, store (read, write), watch."""

from .model import Era, Key, Release, Replica, Server, Snapshot, State
from .store import (
    RegistryError,
    read,
    read_tools,
    remove_unfinished,
    replacing,
    tools_file,
    write,
    write_atomic,
    write_tools,
    writing,
)
from .watch import Watch

__all__ = [
    "Era",
    "Key",
    "RegistryError",
    "Release",
    "Replica",
    "Server",
    "Snapshot",
    "State",
    "Watch",
    "read",
    "read_tools",
    "remove_unfinished",
    "replacing",
    "tools_file",
    "write",
    "write_atomic",
    "write_tools",
    "writing",
]
