"""The bridge's settings: environment variables in, `Settings` out, or `ConfigError` that says what to mend.

Pure but for `read_file`, which callers may replace. Called by `main` at start, and by `dial` to read a `file:` key
again before each attempt (a key may be renewed while the bridge runs).
"""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

_REFERENCE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_LEVELS = ("debug", "info", "warning", "error")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_MAX_FILE = 64 * 1024

ReadFile = Callable[[str], tuple[bytes, int | None]]


class ConfigError(Exception):
    """A setting is missing or unusable. `str()` names the variable, the cause and what to do."""


@dataclass(frozen=True)
class Settings:
    """What the bridge was told. `url` is ws:// or wss:// with a path and never holds a secret."""

    url: str
    host: str
    project: str
    client: str
    key: str
    key_source: str
    ca: str | None = None
    wait_s: float = 30.0
    keepalive_s: float = 20.0
    log_level: str = "warning"
    log_file: str | None = None
    warnings: tuple[str, ...] = ()


def read_file(path: str) -> tuple[bytes, int | None]:
    """The first 64 KiB of a file, and its permission bits where they mean something (None on Windows)."""
    with open(path, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777 if os.name == "posix" else None
        return file.read(_MAX_FILE + 1), mode


def expand(name: str, text: str, env: Mapping[str, str]) -> str:
    """Replace `${VAR}`, `${env:VAR}` and `${VAR:-default}`; refuse what would leave a literal `${`.

    :raises ConfigError: a variable is not set, refers to itself, or a `${` is left.
    """

    def value(match: re.Match[str]) -> str:
        variable, default = match[1], match[2]
        found = env.get(variable, "")
        if variable == name or (found and found == match[0]):
            found = ""
        if not found and default is None:
            state = "refers to itself" if variable == name else "is not set or is empty"
            raise ConfigError(
                f"{name} is {match[0]!r}, but {variable} {state} in the environment that the MCP client gives"
                f" the bridge. Set {variable} where the client is started, or write {name} as"
                f" ${{{variable}:-default}} or file:/path/to/a/file."
            )
        return found or default or ""

    result = _REFERENCE.sub(value, text)
    if "${" in result:
        raise ConfigError(
            f"{name} holds {_shown(result)}, which nobody expanded. The bridge knows ${{VAR}},"
            f" ${{VAR:-default}} and file:/path; write one of these."
        )
    return result


def load(env: Mapping[str, str], read: ReadFile = read_file) -> Settings:
    """Settings from the environment.

    :raises ConfigError: the first thing that is wrong.
    """
    notes: list[str] = []
    raw_url = _required(env, "CENTRAL_MCP_URL", "ws://HOST:3000/mcp", read, notes)
    url, host = parse_url(raw_url)
    project = _required(env, "PROJECT_NAME", "the project the key was made for", read, notes)
    if not _PROJECT.fullmatch(project):
        raise ConfigError(
            f"PROJECT_NAME {project!r} is no project name: letters, digits, _ and -, at most 64, a letter or"
            " digit first."
        )
    client = _value(env, "CLIENT_ID", read, notes) or "central-mcp-bridge"
    _header_safe("CLIENT_ID", client)
    if url.startswith("ws://") and host not in _LOOPBACK and not host.startswith("127."):
        notes.append(
            f"{url} is not encrypted: the API key and every call travel in plain text. Use wss://, or an SSH tunnel."
        )
    level, file = _log(env.get("CENTRAL_LOG", ""))
    return Settings(
        url=url,
        host=host,
        project=project,
        client=client,
        key=load_key(env, read, notes),
        key_source=_source(env.get("API_KEY", "")),
        ca=_value(env, "CENTRAL_MCP_CA", read, notes, files=False) or None,
        wait_s=_seconds(env, "CENTRAL_MCP_WAIT", 30.0),
        keepalive_s=_seconds(env, "CENTRAL_MCP_KEEPALIVE", 20.0),
        log_level=level,
        log_file=file,
        warnings=tuple(notes),
    )


def load_key(env: Mapping[str, str], read: ReadFile = read_file, notes: list[str] | None = None) -> str:
    """The API key, read afresh.

    :raises ConfigError: it is missing or cannot be a header value.
    """
    hint = "a key made on the VM with `central key create`, as ${VAR} or file:/path"
    key = _required(env, "API_KEY", hint, read, [] if notes is None else notes)
    _header_safe("API_KEY", key)
    return key


def parse_url(text: str) -> tuple[str, str]:
    """The WebSocket URL and its host; http(s) becomes ws(s), an empty path becomes /mcp.

    :raises ConfigError: it is no such URL, or it holds a user, a password or a query (keys do not belong into URLs).
    """
    from urllib.parse import urlsplit

    wanted = "write it like ws://HOST:3000/mcp or wss://HOST/s/SERVER/mcp."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"CENTRAL_MCP_URL is no URL ({error}); {wanted}") from None
    scheme = _SCHEMES.get(parts.scheme.lower())
    if scheme is None or not host:
        raise ConfigError(f"CENTRAL_MCP_URL {_shown(text)} is not a ws:// or wss:// URL; {wanted}")
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise ConfigError(
            "CENTRAL_MCP_URL holds a user name, a query or a fragment. Keys do not belong into a URL (it is"
            f" logged on the way): put the key into API_KEY and {wanted}"
        )
    if not (text.isascii() and text.isprintable()) or " " in text:
        raise ConfigError(f"CENTRAL_MCP_URL {_shown(text)} holds a space or a character outside ASCII; {wanted}")
    shown = f"[{host}]" if ":" in host else host
    path = parts.path if parts.path not in ("", "/") else "/mcp"
    return f"{scheme}://{shown}{'' if port is None else f':{port}'}{path}", host


def _required(env: Mapping[str, str], name: str, example: str, read: ReadFile, notes: list[str]) -> str:
    value = _value(env, name, read, notes)
    if not value:
        raise ConfigError(
            f"{name} is not set. Put it into `env` of this server in the MCP client's configuration: {example}."
        )
    return value


def _value(env: Mapping[str, str], name: str, read: ReadFile, notes: list[str], *, files: bool = True) -> str:
    value = expand(name, env.get(name, "").strip(), env).strip()
    if files and value.startswith("file:"):
        return _from_file(name, value[len("file:") :], read, notes)
    return value


def _from_file(name: str, path: str, read: ReadFile, notes: list[str]) -> str:
    if path.startswith("///"):
        path = path[2:]
    if os.name == "nt" and re.match(r"/[A-Za-z]:[\\/]", path):  # file:///C:/...
        path = path[1:]
    full = os.path.expanduser(path)
    if not os.path.isabs(full):
        raise ConfigError(
            f"{name} is file:{path}, a relative path, and MCP clients start the bridge in folders of their own."
            f" Write an absolute path or one that starts with ~."
        )
    try:
        data, mode = read(full)
        text = data.decode("utf-8-sig").strip()
    except OSError as error:
        raise ConfigError(
            f"{name} is file:{path}, which cannot be read: {error.strerror or error}. Make that file, or mend the path."
        ) from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name} is file:{path}, which is not UTF-8 text. Save it as UTF-8.") from None
    if len(data) > _MAX_FILE:
        raise ConfigError(f"{name} is file:{path}, which is over 64 KiB: not a value. Mend the path.")
    if not text:
        raise ConfigError(f"{name} is file:{path}, which is empty. Write the value into it.")
    if mode is not None and mode & 0o077 and name == "API_KEY":
        notes.append(f"{full} can be read by other users (mode {mode:03o}); run: chmod 600 {full}")
    return text


def _header_safe(name: str, value: str) -> None:
    if not (value.isascii() and value.isprintable()) or " " in value or len(value) > 1024:
        raise ConfigError(
            f"{name} holds a space, a line break or a character outside ASCII, or is over 1024 characters;"
            " it cannot be sent. Check the value (and the file it comes from)."
        )


def _seconds(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    try:
        value = float(text) if text else default
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 3600:
        raise ConfigError(f"{name} is {text!r}; write seconds between 0.1 and 3600.")
    return value


def _log(text: str) -> tuple[str, str | None]:
    level, _, file = text.strip().partition(",")
    if not level:
        return "warning", file or None
    if level.lower() not in _LEVELS:
        raise ConfigError(f"CENTRAL_LOG is {text!r}; write LEVEL or LEVEL,FILE with LEVEL one of {', '.join(_LEVELS)}.")
    return level.lower(), os.path.expanduser(file) or None


def _source(raw: str) -> str:
    """Where the key comes from, without the key."""
    raw = raw.strip()
    return raw if raw.startswith("file:") or _REFERENCE.fullmatch(raw) else "API_KEY"


def _shown(text: str) -> str:
    """A value for an error message: its `${...}` part only, or its beginning up to what may be secret."""
    start = text.find("${")
    if start >= 0:
        return repr(text[start : start + 40])
    return repr(text.split("@")[-1].split("?")[0][:80])
