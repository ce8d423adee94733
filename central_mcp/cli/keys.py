"""API keys on this machine: one file a project under `keys/`, 0600, made once and used again while it is valid."""

import os
from pathlib import Path

from .cloud import Cloud


def key_file(cloud: Cloud, project: str) -> Path:
    """The file with a valid key of `project`; makes one when there is none or it was revoked. Raises `CliError`."""
    path = cloud.home.keys / project
    known = {str(key["id"]) for key in cloud.ask("key.list")["keys"]}
    if path.exists() and key_id(path.read_text().strip()) in known:
        return path
    made = cloud.ask("key.create", project=project, name=f"{os.uname().nodename}")
    descriptor = os.open(path.with_suffix(".new"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(str(made["key"]) + "\n")
    path.with_suffix(".new").replace(path)
    return path


def key_id(key: str) -> str:
    """`<id>` of `cmk_<id>_<secret>`."""
    parts = key.split("_")
    return parts[1] if len(parts) >= 3 else ""
