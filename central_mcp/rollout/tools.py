"""The package clients of this machine: where they are, with which environment they run, and what their failures mean.

No index address anywhere: uv and npm use what the machine is configured with. Used by `lock` and `environment`.
"""

import functools
import json
import os
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from central_mcp.home import Home
from central_mcp.rollout.causes import explain
from central_mcp.rollout.errors import BuildError
from central_mcp.supervise.errors import RunError

STEP_TIMEOUT_S = 900.0
"""One lock or one install. A cold machine on a slow line needs minutes for the largest servers."""
TAIL = 20

_PASSED_PREFIXES = ("PIP_", "UV_", "NPM_CONFIG_", "npm_config_", "XDG_")
_PASSED = frozenset({
    "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "NETRC",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
})  # fmt: skip
TRUST = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "TZ")
"""What of the machine's own environment servers get, too: whom it trusts, and where it is."""
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class Run(Protocol):
    """`central_mcp.supervise.run_as`: run `argv` to its end, its output line by line, and return the exit code."""

    def __call__(
        self,
        user: str | None,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        timeout_s: float,
        on_line: Callable[[str], None],
    ) -> int: ...


class Tools:
    """uv, node and npm as the home's settings name them, run for one server."""

    def __init__(self, home: Home, server: str, on_line: Callable[[str], None], run: Run) -> None:
        self._settings = home.settings
        self._server = server
        self._on_line = on_line
        self._run = run
        self._user = "central-build" if self._settings.isolation == "users" else None

    @property
    def python(self) -> Path:
        return self._settings.python

    @property
    def node(self) -> Path:
        if self._settings.node is None:
            raise self.error(
                "this machine has no node >= 20", "install", hint="run `make up` (or the provision playbook) again"
            )
        return self._settings.node

    def uv(self, stage: str, arguments: Sequence[str], cwd: Path) -> None:
        if self._settings.uv is None:
            raise self.error("this machine has no uv", stage, hint="run `make up` (or the provision playbook) again")
        self.run(stage, "uv", [str(self._settings.uv), "--color", "never", *arguments], cwd)

    def npm(self, stage: str, arguments: Sequence[str], cwd: Path) -> None:
        npm = self._settings.npm
        if npm is None:
            raise self.error("this machine has no npm", stage, hint="run `make up` (or the provision playbook) again")
        program = [str(self.node), str(npm)] if npm.suffix == ".js" else [str(npm)]
        self.run(stage, "npm", [*program, *arguments], cwd)

    def run(self, stage: str, program: str, argv: Sequence[str], cwd: Path) -> None:
        """Run to the end. Raises `BuildError` with the cause, its last lines and a hint."""
        tail: deque[str] = deque(maxlen=200)

        def line(text: str) -> None:
            if text.strip() and not text.startswith("npm warn"):
                tail.append(text.rstrip())
                self._on_line(text.rstrip())

        try:
            code = self._run(
                self._user, list(argv), cwd=cwd, env=self.environment(), timeout_s=STEP_TIMEOUT_S, on_line=line
            )
        except RunError as exc:
            raise self.error(f"{program}: {exc}", stage, list(tail)[-TAIL:]) from exc
        if code != 0:
            cause, hint = explain(list(tail), code, program)
            raise self.error(cause, stage, list(tail)[-TAIL:], hint)

    def environment(self) -> dict[str, str]:
        """What the clients see: the machine's configuration for them, nothing of the engine's own."""
        env = {k: v for k, v in os.environ.items() if k in _PASSED or k.startswith(_PASSED_PREFIXES)}
        folders = [str(self._settings.node.parent)] if self._settings.node else []
        env |= {"PATH": ":".join([*folders, SYSTEM_PATH]), "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "CI": "1"}
        env |= {
            "UV_NO_PROGRESS": "1",
            "NPM_CONFIG_UPDATE_NOTIFIER": "false",
            "NPM_CONFIG_FUND": "false",
            "NPM_CONFIG_AUDIT": "false",
        }
        env.setdefault("HOME", str(Path.home()))
        return env

    def error(self, cause: str, stage: str, tail: Sequence[str] = (), hint: str = "") -> BuildError:
        return BuildError(cause, server=self._server, stage=stage, log_tail=tail, hint=hint)


@functools.lru_cache
def identity(program: Path, kind: str) -> str:
    """Version, platform and place of an interpreter: an environment made for one does not fit another."""
    code = {
        "python": "import json, platform, sys, sysconfig\n"
        "print(json.dumps([sys.version, sysconfig.get_platform(), platform.libc_ver(), sys.base_prefix]))",
        "node": "console.log(JSON.stringify([process.version,process.platform,process.arch]))",
    }
    flag = ["-I", "-c"] if kind == "python" else ["-e"]
    try:
        answer = subprocess.run([program, *flag, code[kind]], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as exc:
        raise BuildError(
            f"{program} does not run: {exc}", hint="run `make up` (or the provision playbook) again"
        ) from exc
    return json.dumps(json.loads(answer.stdout), separators=(",", ":"))
