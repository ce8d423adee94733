"""Commands that change what serves: project, plan, deploy, releases, rollback."""

import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from .cloud import Cloud
from .command import Json, Project, command, new_app
from .errors import Interrupted, UsageError
from .output import Steps, age, print_json, print_table

project_app = new_app("Projects: pushed git repositories.")


@command(project_app, "create", example="central project create PROJECT_airbnsearch")
def project_create(
    name: Annotated[str, typer.Argument(help="Name, as in `project:` of its central.yml.")], as_json: Json = False
) -> None:
    """Make a project's repository and print its git remote. An existing one is kept."""
    cloud = Cloud()
    made = cloud.ask("project.create", name=name)
    if as_json:
        print_json(made)
        return
    print(f"{name}: {'made' if made.get('created') else 'is there already'}")
    print(f"remote  {made['remote']}")
    branch = cloud.home.settings.branch
    print(f"next    git remote add central {shlex.quote(made['remote'])} && git push central HEAD:{branch}")


@command(project_app, "list", example="central project list")
def project_list(as_json: Json = False) -> None:
    """List the projects."""
    projects = Cloud().ask("project.list")["projects"]
    if as_json:
        print_json(projects)
        return
    rows = [[p["name"], p.get("release") and f"v{p['release']}", p.get("remote") or p.get("path")] for p in projects]
    print_table(("PROJECT", "RELEASE", "REMOTE"), rows, empty="none yet: central project create PROJECT_name")


def plan(
    folder: Annotated[Path, typer.Option("--folder", help="Folder with central.yml.")] = Path(),
    as_json: Json = False,
) -> None:
    """Check central.yml and say what a push would change. Changes nothing itself."""
    from .plan import plan as make_plan
    from .plan import print_plan

    result = make_plan(folder.absolute())
    if as_json:
        print_json(result)
    else:
        print_plan(result)
    if result["problems"]:
        raise typer.Exit(1)


def deploy(
    commit: Annotated[str, typer.Argument(help="Commit or branch that was pushed.")] = "main",
    project: Project = None,
    option: Annotated[list[str] | None, typer.Option("-o", help="Push option, as `git push -o`.")] = None,
    as_json: Json = False,
) -> None:
    """Deploy a commit that was pushed, through the same gate as a push."""
    cloud = Cloud()
    roll(cloud, as_json, "deploy", project=cloud.project(project), commit=commit, options=option or [])


def rollback(
    release: Annotated[str | None, typer.Argument(help="Release, as v12; default: the one before.")] = None,
    project: Project = None,
    as_json: Json = False,
) -> None:
    """Serve an older release again, under a new number.

    The newer one is kept. The release is watched on afterwards.
    """
    cloud = Cloud()
    release_to = release_number(release)
    roll(cloud, as_json, "rollback", project=cloud.project(project), release=release_to, options=["detach"])


def roll(cloud: Cloud, as_json: bool, do: str, **arguments: Any) -> None:
    """One rollout on request of this user, followed to its end."""
    import sys

    from ..engine.client import user
    from .events import follow

    steps = Steps(sys.stderr if as_json else sys.stdout)
    try:
        done = follow(cloud.stream(do, who=user(), source="cli", **arguments), steps)
    except KeyboardInterrupt as exc:
        raise Interrupted(f"{do}: not waited for; it goes on in the cloud", "central status") from exc
    if as_json:
        print_json(done)


def release_number(text: str | None) -> int | None:
    """12 of `v12` or `12`. Raises `UsageError`."""
    if text is None:
        return None
    digits = text.removeprefix("v")
    if not digits.isdigit():
        raise UsageError(f"release {text!r}: not of the form v12", "central releases lists them")
    return int(digits)


def releases(project: Project = None, as_json: Json = False) -> None:
    """List a project's releases, the newest first; `*` serves."""
    cloud = Cloud()
    named = cloud.project(project)
    found = cloud.ask("releases", project=named)["releases"]
    if as_json:
        print_json(found)
        return
    rows = [
        [
            ("*" if r.get("serving") else " ") + f"v{r['release']}",
            str(r.get("commit") or "")[:7],
            "serving" if r.get("serving") else r.get("outcome"),
            r.get("who"),
            age(r["at"]) if r.get("at") else None,
            r.get("subject") or r.get("why"),
        ]
        for r in found
    ]
    print_table(("RELEASE", "COMMIT", "OUTCOME", "WHO", "AGE", "SUBJECT"), rows, empty=f"{named}: none yet")


def register(app: typer.Typer) -> None:
    app.add_typer(project_app, name="project")
    command(app, "plan", example="cd my-servers && central plan")(plan)
    command(app, "deploy", example="central deploy 1a2b3c4 --project PROJECT_fleet")(deploy)
    command(app, "releases", example="central releases --project PROJECT_fleet")(releases)
    command(app, "rollback", example="central rollback\ncentral rollback v12 --project PROJECT_fleet")(rollback)
