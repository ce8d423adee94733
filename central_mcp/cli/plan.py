"""`central plan`: what is in the manifest, and what a push of it would change. Works before there is a cloud."""

import subprocess
from pathlib import Path
from typing import Any

from .cloud import Cloud
from .errors import CliError, Unreachable
from .output import print_table


def plan(folder: Path) -> dict[str, Any]:
    """The manifest's servers and, with a cloud, its comparison. Raises `CliError` with every problem at once."""
    from ..manifest import ManifestError, load

    path = folder / "central.yml"
    try:
        manifest = load(path.read_bytes())
    except FileNotFoundError as exc:
        raise CliError(f"{path}: missing", "central init writes one") from exc
    except ManifestError as exc:
        raise CliError(str(exc), "mend central.yml and run central plan again") from exc
    result: dict[str, Any] = {"project": manifest.project, "servers": sorted(manifest.servers), "problems": []}
    try:
        answer = Cloud().ask("plan", project=manifest.project, tree=str(folder), commit=head(folder))
    except Unreachable as exc:
        return {**result, "compared": False, "why": str(exc)}
    except CliError as exc:
        if exc.reason != "unknown":
            raise
        return {**result, "compared": False, "why": f"{exc} yet; {exc.next_step}"}
    return {**result, "compared": True, **answer}


def head(folder: Path) -> str | None:
    """The commit checked out in `folder`, or None outside a repository."""
    argv = ["git", "-C", str(folder), "rev-parse", "--verify", "--quiet", "HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def print_plan(result: dict[str, Any]) -> None:
    count = len(result["servers"])
    print(f"{result['project']}: central.yml is sound, {count} server{'' if count == 1 else 's'}")
    if not result["compared"]:
        print(f"not compared with what serves: {result['why']}")
        print_table(("SERVER",), [[name] for name in result["servers"]])
        return
    for problem in result["problems"]:
        print(f"problem: {problem}")
    rows = [[change["server"], change["change"], change.get("why")] for change in result.get("changes", [])]
    print_table(("SERVER", "CHANGE", "WHY"), rows, empty="nothing to change")
