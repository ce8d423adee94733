"""Where everything lies: CENTRAL_HOME, CENTRAL_RUN and the settings kept in `etc/settings.json`.

Used by every program of the VM side except the runner. Makes no folder and starts nothing; the `home` role does that.
"""

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MAX_SOCKET_PATH = 100
"""Bytes. The kernel takes 107 (sockaddr_un); supervisor finds out too late, so we refuse earlier."""


class HomeError(Exception):
    """There is no usable home here; the message says which and what to do."""


class Settings(BaseModel):
    """`etc/settings.json`, written by the provisioning role, read by every program at start."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: Path = Field(description="Folder of all sockets (CENTRAL_RUN), mode 0700")
    host: str = Field("127.0.0.1", description="Address the coordinator listens on")
    port: int = Field(3000, ge=1, le=65535, description="Port of the coordinator")
    coordinators: int = Field(1, ge=1, le=16, description="Coordinator processes on the port (SO_REUSEPORT)")
    branch: str = Field("main", description="The branch whose push deploys")
    isolation: Literal["none", "users"] = Field("none", description="users: every server under its own uid")
    service: Literal["detached", "systemd"] = Field("detached", description="What keeps supervisord alive")
    python: Path = Field(Path(sys.executable), description="Interpreter of the VM side's programs")
    node: Path | None = Field(None, description="node >= 20; None: servers from npm are refused")
    npm: Path | None = Field(None, description="npm's program that belongs to `node`")
    uv: Path | None = Field(None, description="uv, which builds Python environments")
    playbooks: Path = Field(description="Folder of rollout.yml and its roles' parent")
    watch_first: float = Field(10.0, ge=0, description="Seconds of the watch that a push waits for")
    gate: float = Field(30.0, gt=0, description="Seconds a new release has to start, negotiate and list its tools")
    lock_wait: float = Field(120.0, ge=0, description="Seconds a push waits for another rollout of its project")
    max_push: int = Field(100 << 20, gt=0, description="Bytes: largest file that a push may bring")
    allowed_hosts: tuple[str, ...] = Field((), description="Further Host names that the coordinator answers to")


@dataclass(frozen=True)
class Home:
    """Paths below one CENTRAL_HOME. `Home.find()` is what programs call."""

    root: Path

    @classmethod
    def find(cls) -> "Home":
        """CENTRAL_HOME, or `.central` of the checkout that holds this package, or /srv/central. Raises `HomeError`."""
        named = os.environ.get("CENTRAL_HOME")
        if named:
            return cls(Path(named).absolute())
        checkout = Path(__file__).resolve().parent.parent / ".central"
        for root in (checkout, Path("/srv/central")):
            if (root / "etc" / "settings.json").exists():
                return cls(root)
        raise HomeError(
            f"no cloud here: neither {checkout} nor /srv/central holds one. Run `make up`, or set CENTRAL_HOME"
        )

    @cached_property
    def settings(self) -> Settings:
        """Raises `HomeError` naming file and field."""
        path = self.root / "etc" / "settings.json"
        try:
            return Settings.model_validate_json(path.read_bytes())
        except OSError as exc:
            raise HomeError(f"{path}: {exc.strerror}. Run `make up` (or the provision playbook) again") from exc
        except ValidationError as exc:
            first = exc.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise HomeError(
                f"{path}: {where}: {first['msg']}. Run `make up` (or the provision playbook) again"
            ) from exc

    # what lies where; one name each, so that a look here tells
    @property
    def git(self) -> Path:
        return self.root / "git"  # <project>.git

    @property
    def hooks(self) -> Path:
        return self.root / "hooks"  # pre-receive, proc-receive, post-receive of every repository (core.hooksPath)

    @property
    def keys(self) -> Path:
        return self.root / "keys"  # one API key a file, 0600: what `make up` and `central connect` made

    @property
    def projects(self) -> Path:
        return self.root / "projects"  # <project>/releases/<n>-<sha>/ and <project>/current

    @property
    def envs(self) -> Path:
        return self.root / "envs"

    @property
    def registry(self) -> Path:
        return self.root / "registry"

    @property
    def etc(self) -> Path:
        return self.root / "etc"  # settings.json, machine.key, supervisord.conf, programs/*.conf, runner/<id>.json

    @property
    def log(self) -> Path:
        return self.root / "log"  # coordinator, router, engine, supervisord, rollouts/<id>.log, servers/<name>.log

    @property
    def state(self) -> Path:
        return self.root / "state.db"

    @property
    def data(self) -> Path:
        return self.root / "data"  # <project>/<server>/: the working data of a server, kept across releases

    @property
    def machine_key(self) -> Path:
        return self.etc / "machine.key"  # 32 random bytes, 0600: seals session ids and cursors

    @property
    def run(self) -> Path:
        return self.settings.run

    @property
    def router_socket(self) -> Path:
        return self.run / "router.sock"

    @property
    def engine_socket(self) -> Path:
        return self.run / "engine.sock"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor" / "s.sock"  # in a 0700 folder of its own: supervisor checks nobody

    def server_socket(self, identity: str) -> Path:
        """Socket of the runner of one server-release; `identity` is 12 hex digits."""
        return self.run / "s" / f"{identity}.sock"

    def server_status(self, identity: str) -> Path:
        return self.run / f"{identity}.status"

    def runner_table(self, identity: str) -> Path:
        return self.etc / "runner" / f"{identity}.json"  # 0400: holds the environment
