"""What supervisord's configuration says: the main file, and one section for each program. Pure.

Rendering is the only way to a section, so that no name, argument or variable can become configuration. Values go into
the command line, which supervisord splits like a shell, and never into its `environment=`, which cannot hold every
text.
"""

import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..home import MAX_SOCKET_PATH, Home
from .errors import ConfigError

MARK = "CENTRAL_KEEPER"
"""Variable in the environment of everything that runs under a home's supervisord; its value is the home's root."""
CORE = "core"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}(@[0-9]{1,9})?")
CATEGORY = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")
_COMMENT = re.compile(r"(^|\s)[;#]")  # supervisord takes the rest of such a value for a comment

FOREVER = 1_000_000_000
"""startretries: supervisord waits one second longer after each quick death, and never gives up."""


@dataclass(frozen=True)
class Program:
    """One group of supervisord: `count` equal processes under one name, `<name>:0`, `<name>:1` ..."""

    name: str
    """`coordinator`, `git@12`: a program under a server-release's name never changes."""
    argv: tuple[str, ...]
    category: str
    """The include file: `core`, or a category of servers."""
    log: Path
    """Takes what it writes to stdout and stderr. Programs keep their real logs themselves and are silent here."""
    env: Mapping[str, str] = field(default_factory=dict)
    """The whole environment, but for `MARK`."""
    count: int = 1
    user: str | None = None
    stop_wait_s: int = 10
    """Seconds from SIGTERM to SIGKILL."""
    autostart: bool = True
    start_s: int = 1
    """Seconds after which it counts as running; a death before that makes supervisord wait longer each time."""
    retries: int = FOREVER


@cache
def need(tool: str) -> str:
    """Absolute path of `tool`. Raises `ConfigError` naming the package that brings it."""
    path = shutil.which(tool, path="/usr/local/bin:/usr/bin:/bin") or shutil.which(tool)
    if path is None:
        package = {"setpriv": "util-linux", "env": "coreutils"}.get(tool, tool)
        raise ConfigError("PATH", "", f"`{tool}` is missing; the package {package} brings it (apt install {package})")
    return path


def render_programs(programs: Iterable[Program], mark: str = "") -> str:
    """The include file of `programs`, sorted by name. Raises `ConfigError` for what cannot be said safely."""
    return "".join(render_program(program, mark) for program in sorted(programs, key=lambda p: p.name))


def render_program(program: Program, mark: str = "") -> str:
    """One section. It ends with an empty line."""
    _check(program)
    log = str(program.log) if program.count == 1 else f"{program.log}.%(process_num)d"
    lines = {
        "command": _command(program, mark),
        "process_name": "%(process_num)d",
        "numprocs": program.count,
        "user": program.user,
        "directory": "/",
        "autostart": _boolean(program.autostart),
        "autorestart": "true",
        "startsecs": program.start_s,
        "startretries": program.retries,
        "stopsignal": "TERM",
        "stopwaitsecs": program.stop_wait_s,
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": log,
        "stdout_logfile_maxbytes": "1MB",
        "stdout_logfile_backups": 1,
    }
    body = "".join(f"{key}={value}\n" for key, value in lines.items() if value is not None)
    return f"[program:{program.name}]\n{body}\n"


def render_main(home: Home) -> str:
    """supervisord.conf. Raises `ConfigError` when a path cannot be written there."""
    conf = home.etc / "supervisord.conf"
    socket = home.supervisor_socket
    if len(str(socket).encode()) > MAX_SOCKET_PATH:
        raise ConfigError(
            conf,
            "unix_http_server",
            f"{socket} has more than {MAX_SOCKET_PATH} bytes, too long for a socket; set a shorter CENTRAL_RUN",
        )
    for path in (home.etc, home.log, socket):
        _plain(str(path), conf, "supervisord", "path")
        if re.search(r"[][*?]", str(path)):
            raise ConfigError(conf, "include", f"{path}: a path with [, ], * or ? cannot be used")

    def text(path: Path) -> str:
        return str(path).replace("%", "%%")

    return f"""\
; Written by central-mcp; programs are in programs/*.conf.
[unix_http_server]
file={text(socket)}
chmod=0700

[supervisord]
nodaemon=true
silent=true
identifier=central
logfile={text(home.log / "supervisord.log")}
logfile_maxbytes=1MB
logfile_backups=2
loglevel=info
pidfile={text(socket.with_name("supervisord.pid"))}
childlogdir={text(home.log)}
nocleanup=true
minfds=1024
minprocs=1
umask=022

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[include]
files=programs/*.conf
"""


def split_programs(text: str) -> dict[str, str]:
    """The sections of an include file that `render_programs` made: program name -> its text."""
    parts = re.split(r"^\[program:([^\]\n]+)\]$", text, flags=re.MULTILINE)
    return {name: f"[program:{name}]{body}" for name, body in zip(parts[1::2], parts[2::2], strict=True)}


def _command(program: Program, mark: str) -> str:
    variables = {**program.env, **({MARK: mark} if mark else {})}
    clean = (need("env"), "-i", *(f"{name}={value}" for name, value in sorted(variables.items())))
    guarded = (need("setpriv"), "--pdeathsig", "KILL", "--")  # supervisord's death takes it along
    return " ".join(quote(argument) for argument in (*clean, *guarded, *program.argv))


def quote(argument: str) -> str:
    """One word of `command=`, for the ini reader (comments), its expansion (%) and the shell-like split at once."""
    return shlex.quote(argument).replace("#", "''#").replace(";", "'';").replace("%", "%%''")


def _check(program: Program) -> None:
    file, section = f"{program.category}.conf", f"program:{program.name!r}"
    if not NAME.fullmatch(program.name):
        raise ConfigError(file, section, "a program's name is letters, digits, '_', '.', '-' and may end in @<release>")
    if not CATEGORY.fullmatch(program.category):
        raise ConfigError(file, section, f"category {program.category!r} is not a plain word")
    if not program.argv or not program.argv[0]:
        raise ConfigError(file, section, "argv is empty")
    if program.count < 1 or program.stop_wait_s < 1 or program.start_s < 0 or program.retries < 0:
        raise ConfigError(file, section, "count and stop_wait_s must be at least 1, start_s and retries at least 0")
    for argument in program.argv:
        if _CONTROL.search(argument):
            raise ConfigError(file, section, f"argument {argument!r} holds a control character")
    for name, value in program.env.items():
        if not VARIABLE.fullmatch(name):
            raise ConfigError(file, section, f"{name!r} is no name of a variable")
        if _CONTROL.search(value):
            raise ConfigError(file, section, f"variable {name} holds a control character")
    if program.user is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]*", program.user):
        raise ConfigError(file, section, f"user {program.user!r} is no name of a user")
    _plain(str(program.log), file, section, "log")
    if "%" in str(program.log) or not program.log.is_absolute():
        raise ConfigError(file, section, f"log {str(program.log)!r} must be an absolute path without %")


def _plain(value: str, file: Path | str, section: str, what: str) -> None:
    if _CONTROL.search(value) or _COMMENT.search(value) or value != value.strip():
        raise ConfigError(file, section, f"{what} {value!r} cannot be written into supervisord's configuration")


def _boolean(value: bool) -> str:
    return "true" if value else "false"
