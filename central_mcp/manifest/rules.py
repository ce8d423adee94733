"""Rules about single values: names, categories and their ports, package names, source paths, argv. Pure.

Each `check_*` raises `ValueError` with a sentence that fits behind the place of the value.
"""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Literal, NamedTuple

CATEGORIES: dict[str, range] = {
    "database": range(3100, 3150),
    "filesystem": range(3150, 3200),
    "api": range(3200, 3250),
    "ai-ml": range(3250, 3300),
    "version-control": range(3300, 3350),
    "dev-tools": range(3350, 3400),
    "system": range(3400, 3450),
    "communication": range(3450, 3500),
    "business": range(3500, 3550),
    "iot": range(3550, 3600),
}
"""Category -> the loopback ports that its servers may be given."""

PLACEHOLDERS = ("env", "source", "data", "python", "node")
"""`{name}` in run and env: the environment's folder, the server's source, its data folder, the interpreters."""

PROJECT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
SERVER_NAME = r"^[a-z0-9]([a-z0-9_-]{0,29}[a-z0-9])?$"
ENV_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
PACKAGE_PATTERN = (
    r"^(pypi:[A-Za-z0-9._-]+(\[[A-Za-z0-9._, -]+\])?==[0-9][A-Za-z0-9.!+_-]*"
    r"|npm:(@[a-z0-9._~-]+/)?[A-Za-z0-9._~-]+@[0-9][A-Za-z0-9.+-]*)$"
)
"""For editors; `parse_package` is stricter."""

_PYPI = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\[(?P<extras>[^\]]*)\])?(?P<rest>.*)", re.DOTALL
)
_NPM = re.compile(
    r"(?P<name>(?:@[a-z0-9~-][a-z0-9._~-]*/)?[A-Za-z0-9~-][A-Za-z0-9._~-]*)(?:@(?P<version>.*))?", re.DOTALL
)
_PYPI_VERSION = re.compile(
    r"([0-9]+!)?[0-9]+(\.[0-9]+)*([-_.]?(a|b|c|rc|alpha|beta|pre|preview|post|rev|r|dev)[-_.]?[0-9]*)*(\+[a-z0-9.]+)?",
    re.IGNORECASE,
)
_BOUND = r"(==|<=|>=|!=|~=|<|>) ?[0-9][A-Za-z0-9.*!+]*"
_PIN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]* ?{_BOUND}(, ?{_BOUND})*")
_NPM_VERSION = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_SHELLS = frozenset({"sh", "bash", "dash", "zsh", "ksh", "fish", "csh", "tcsh", "busybox", "cmd", "powershell", "pwsh"})
_FETCHERS = frozenset({"npx", "uvx", "uv", "pip", "pipx", "npm", "yarn", "pnpm", "bunx", "docker", "podman"})


class Package(NamedTuple):
    """A pinned package of a registry."""

    kind: Literal["pypi", "npm"]
    name: str
    version: str
    extras: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """What the package's own client calls it: `name[extra]==1.0` or `@scope/name@1.0.0`."""
        if self.kind == "npm":
            return f"{self.name}@{self.version}"
        extras = f"[{','.join(self.extras)}]" if self.extras else ""
        return f"{self.name}{extras}=={self.version}"


def check_project_name(name: str) -> str:
    if not re.fullmatch(PROJECT_NAME[1:-1], name):
        raise ValueError("a project's name starts with a letter or digit and has at most 64 letters, digits, - and _")
    return name


def check_server_name(name: str) -> str:
    if not re.fullmatch(SERVER_NAME[1:-1], name):
        raise ValueError(
            "a server's name has 1-31 lower-case letters, digits, - and _, and starts and ends with a letter or digit"
        )
    if "__" in name:
        raise ValueError("a server's name cannot hold __, which stands between server and tool")
    return name


def parse_package(text: str) -> Package:
    """`pypi:NAME[EXTRAS]==VERSION` or `npm:NAME@VERSION`, pinned to one version."""
    kind, colon, rest = text.partition(":")
    if colon and kind == "pypi":
        return _parse_pypi(rest.strip())
    if colon and kind == "npm":
        return _parse_npm(rest.strip())
    raise ValueError("must be pypi:NAME==VERSION or npm:NAME@VERSION")


def _parse_pypi(text: str) -> Package:
    found = _PYPI.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no PyPI package; write pypi:NAME==VERSION")
    operator, version = found["rest"][:2], found["rest"][2:]
    if operator != "==" or not _PYPI_VERSION.fullmatch(version):
        raise ValueError(f"must be pinned to one version: pypi:{found['name']}==VERSION")
    extras = tuple(sorted({extra.strip() for extra in (found["extras"] or "").split(",")} - {""}))
    if not all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", extra) for extra in extras):
        raise ValueError(f"extras [{found['extras']}] are no list of names")
    return Package("pypi", found["name"], version, extras)


def _parse_npm(text: str) -> Package:
    found = _NPM.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no npm package; write npm:NAME@VERSION")
    version = found["version"] or ""
    if not _NPM_VERSION.fullmatch(version):
        raise ValueError(f"must be pinned to one version: npm:{found['name']}@1.2.3 (no range, no tag)")
    return Package("npm", found["name"], version)


def check_pin(text: str) -> str:
    """A constraint on one of a PyPI package's dependencies, `mcp<2`; no URL, no option."""
    if not _PIN.fullmatch(text):
        raise ValueError("must be a version constraint such as mcp<2")
    return text


def check_source(text: str) -> str:
    """A folder of the repository, returned without `./` and trailing slash (`.` for the root)."""
    path = PurePosixPath(text)
    if not text or "\\" in text or any(ord(c) < 32 for c in text):
        raise ValueError("must be a folder of the repository, e.g. ./servers/notes")
    if path.is_absolute() or ".." in path.parts:
        raise ValueError("must lie inside the repository: a relative path without ..")
    if ".git" in path.parts:
        raise ValueError("must not be git's own folder")
    return str(path)


def check_run(argv: Sequence[str]) -> tuple[str, ...]:
    """An argv whose program belongs to the environment or the source; no shell, nothing that downloads at start."""
    if not argv or not argv[0]:
        raise ValueError("needs at least a program, e.g. [python, -m, my_server]")
    for part in argv:
        _check_text(part)
        check_placeholders(part)
    program = PurePosixPath(argv[0])
    if program.name in _SHELLS:
        raise ValueError(f"is an argv, never a shell; name the program itself instead of {program.name}")
    if program.name in _FETCHERS:
        raise ValueError(f"must not fetch at start ({program.name}); name the package under package:, it is built once")
    if program.is_absolute() or ".." in program.parts:
        raise ValueError(
            "names python, node, a program of its own environment or a file of its source, no path of the host"
        )
    return tuple(argv)


def check_env(env: dict[str, str]) -> dict[str, str]:
    for name, value in env.items():
        if not re.fullmatch(ENV_NAME[1:-1], name):
            raise ValueError(f"{name!r} is no name of an environment variable")
        _check_text(value)
        check_placeholders(value)
    return env


def check_placeholders(text: str) -> None:
    for name in re.findall(r"\{([a-z_]+)\}", text):
        if name not in PLACEHOLDERS:
            raise ValueError(
                f"unknown placeholder {{{name}}}; there are " + ", ".join(f"{{{p}}}" for p in PLACEHOLDERS)
            )


def _check_text(text: str) -> None:
    if "\0" in text:
        raise ValueError("holds a NUL character")
