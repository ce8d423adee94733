"""The `programs` role: supervisord's main configuration and the core programs: engine, router, coordinators."""

import hashlib
import os
from pathlib import Path

from ..home import Home
from ..registry.store import write_atomic
from ..supervise import Configuration, Program, render_main
from .outcome import Outcome

PACKAGE = Path(__file__).resolve().parent.parent
PASSED_ON = (
    *("HOME", "NETRC", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
)
"""What builds need to reach a package index as this user does, through a company's proxy too; nothing else is taken."""
PASSED_PREFIXES = ("UV_", "PIP_", "NPM_CONFIG_", "XDG_C")  # XDG_CACHE_HOME, XDG_CONFIG_HOME


def core_programs(home: Home, environ: dict[str, str]) -> list[Program]:
    """The programs that every home runs. Their environment is the whole of what they see."""
    settings = home.settings
    shared = {
        "CENTRAL_HOME": str(home.root),
        "CENTRAL_BUILD": build_digest(home),
        "PATH": os.pathsep.join((str(settings.python.parent), "/usr/local/bin", "/usr/bin", "/bin")),
        "HOME": str(home.root),
        "LC_ALL": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
    }
    python = str(settings.python)

    def program(name: str, *argv: str, env: dict[str, str] | None = None, count: int = 1, stop_wait_s: int) -> Program:
        return Program(
            name=name,
            argv=(python, "-m", *argv),
            category="core",
            log=home.log / f"{name}.out",
            env={**shared, **(env or {})},
            count=count,
            stop_wait_s=stop_wait_s,
        )

    return [
        program("engine", "central_mcp.engine", env=passed_on(environ), stop_wait_s=20),
        program("router", "central_mcp.router", "--instance", "main#1", stop_wait_s=15),
        program("coordinator", "central_mcp.coordinator", count=settings.coordinators, stop_wait_s=10),
    ]


def passed_on(environ: dict[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in sorted(environ.items())
        if name.upper() in PASSED_ON or name.upper().startswith(PASSED_PREFIXES)
    }


def build_digest(home: Home) -> str:
    """Changes with our code and the settings, so that supervisord restarts what must read them anew."""
    digest = hashlib.sha256((home.etc / "settings.json").read_bytes())
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def configure(home: Home, environ: dict[str, str], *, check: bool = False) -> Outcome:
    """Write the configuration if it differs; make a running supervisord follow. Raises supervise's `ConfigError`."""
    outcome = Outcome()
    main = home.etc / "supervisord.conf"
    core = home.etc / "programs" / "core.conf"
    outcome.before = _text(main) + _text(core)
    configuration = Configuration(home)
    programs = core_programs(home, environ)
    outcome.after = render_main(home) + configuration.render(programs)
    if outcome.before == outcome.after:
        return outcome
    outcome.did("configuration of supervisord")
    if check:
        return outcome
    write_atomic(main, render_main(home).encode(), 0o600)
    configuration.put(programs)
    return outcome


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
