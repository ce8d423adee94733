"""The rules of the house that a machine can check: who imports whom, which roles may do what, what no file may hold."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
CLOUD_ROLES_PLAY = "Cloud"
REGISTRY_HOSTS = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("files", "pythonhosted", "org"),
            ("registry", "npmjs", "org"),
            ("registry", "yarnpkg", "com"),
            ("npmjs", "com"),
            ("crates", "io"),
            ("proxy", "golang", "org"),
            ("index", "docker", "io"),
        )
    )
)

LAYERS = [
    {"protocol", "manifest", "runner"},
    {"registry", "home", "toolchain", "link", "logs"},
    {"supervise", "rollout"},
    {"coordinator", "router", "engine"},
    {"provision"},
    {"cli"},
]
"""Lowest first. A part imports parts below its own; within a layer see BESIDE."""
BESIDE = {("supervise", "home"), ("rollout", "supervise")}
PURE = {"protocol", "manifest", "runner"}


def tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z", *patterns], capture_output=True, check=True)
    return [ROOT / name for name in done.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def imports(path: Path) -> set[str]:
    """Every module a file imports, absolute, also inside functions."""
    package = list(path.relative_to(ROOT).with_suffix("").parts)[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{module}.{alias.name}" for alias in node.names} if module == "central_mcp" else {module}
    return found


def part(module: str) -> str | None:
    """`router` of `central_mcp.router.pool`; None for what is not ours or for the package itself."""
    names = module.split(".")
    return names[1] if names[0] == "central_mcp" and len(names) > 1 else None


def layer(name: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if name in names)


def test_imports_point_from_the_programs_down_to_the_pure_parts() -> None:
    wrong = []
    for path in tracked("central_mcp/*.py"):
        here = part(".".join(path.relative_to(ROOT).with_suffix("").parts))
        if here in (None, "__init__"):
            continue
        for module in imports(path):
            there = part(module)
            if there is None or there == here or there == "__version__":
                continue
            if layer(there) >= layer(here) and (here, there) not in BESIDE:
                if (module, here) == ("central_mcp.engine.client", "provision"):
                    continue
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_the_bridge_imports_nothing_of_the_cloud() -> None:
    wrong = [path for path in tracked("bridge/*.py") if any(m.split(".")[0] == "central_mcp" for m in imports(path))]
    assert wrong == []


def test_the_runner_and_the_bootstrap_need_the_standard_library_alone() -> None:
    import sys

    wrong = []
    for path in [
        *tracked("central_mcp/runner/*.py"),
        ROOT / "central_mcp/toolchain.py",
        ROOT / "central_mcp/cli/preflight.py",
    ]:
        own = {p.stem for p in path.parent.glob("*.py")}
        for module in imports(path):
            top = module.split(".")[0]
            if top not in sys.stdlib_module_names and part(module) != "runner" and top not in own:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_no_file_names_a_package_registry_host() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if REGISTRY_HOSTS.search(path.read_bytes().decode("utf-8", "replace"))
    ]
    assert wrong == []


def test_locks_pin_every_package_by_hash() -> None:
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        blocks = re.split(r"\n(?=\S)", path.read_text())
        packages = [block for block in blocks if not block.startswith("#")]
        assert packages, path
        for block in packages:
            assert re.match(r"[\w.-]+==\S+", block), (path, block[:80])
            assert "--hash=sha256:" in block, (path, block[:80])


def test_no_shell_is_asked_to_run_a_string() -> None:
    wrong = []
    for path in tracked("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "shell" and getattr(node.value, "value", None) is True:
                wrong.append(f"{path.relative_to(ROOT)}:{node.value.lineno}")
    assert wrong == []


def direct_dependencies() -> set[str]:
    found: set[str] = set()
    for file in ("pyproject.toml", "bridge/pyproject.toml"):
        document = tomllib.loads((ROOT / file).read_text())
        lines = [*document["project"]["dependencies"], *document["build-system"]["requires"]]
        for group in document.get("dependency-groups", {}).values():
            lines += group
        found |= {re.match(r"[A-Za-z0-9._-]+", line)[0].lower() for line in lines}  # type: ignore[index]
    return found


def test_every_direct_dependency_says_why() -> None:
    text = (ROOT / "docs" / "dependencies.md").read_text()
    told = {match.lower() for match in re.findall(r"^\| `([^`]+)`", text, re.MULTILINE)}
    assert direct_dependencies() - told == set()


def test_every_direct_dependency_is_locked() -> None:
    locks = "\n".join(path.read_text() for path in (ROOT / "requirements").glob("*.txt"))
    locked = {name.lower() for name in re.findall(r"^([\w.-]+)==", locks, re.MULTILINE)}
    assert direct_dependencies() - locked == set()


def roles() -> list[Path]:
    return sorted(path for path in (ROOT / "roles").iterdir() if (path / "tasks").is_dir())


@pytest.mark.parametrize("role", roles(), ids=lambda role: role.name)
def test_every_role_states_its_arguments(role: Path) -> None:
    specs = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())
    assert specs["argument_specs"]["main"]["short_description"]
    for name, option in specs["argument_specs"]["main"].get("options", {}).items():
        assert option.get("description"), f"{role.name}: {name}"


def plays() -> list[dict[str, object]]:
    return [play for path in sorted((ROOT / "playbooks").glob("*.yml")) for play in yaml.safe_load(path.read_text())]


def roles_of(play: dict[str, object]) -> set[str]:
    listed = play.get("roles") or []
    assert isinstance(listed, list)
    named = {entry["role"] if isinstance(entry, dict) else entry for entry in listed}
    return named | set(
        re.findall(r"'name': '(\w+)'", str([t for t in play.get("tasks") or [] if "include_role" in str(t)]))
    )  # type: ignore[union-attr, attr-defined]


def cloud_plays() -> list[dict[str, object]]:
    return [play for play in plays() if "become" not in play]


def test_host_and_cloud_plays_share_no_role() -> None:
    host = set().union(*(roles_of(play) for play in plays() if play.get("become")))
    cloud = set().union(*(roles_of(play) for play in cloud_plays()))
    assert host & cloud == set()
    assert all(play.get("hosts") != "vm" for play in cloud_plays())


FORBIDDEN_MODULES = re.compile(
    r"\b(ansible\.builtin\.)?(apt|apt_key|apt_repository|dnf|package|user|group|systemd|systemd_service|service|sysctl|mount|hostname)$"
)
ABSOLUTE = re.compile(r"(?<![\w}/.:~-])/(?:etc|usr|var|srv|run|home|opt|root|tmp|bin|lib)\b")


def tasks(listed: list[dict[str, object]]) -> list[dict[str, object]]:
    """Every task of a file, those in blocks too."""
    inner = [part for task in listed for key in ("block", "rescue", "always") for part in tasks(task.get(key) or [])]  # type: ignore[arg-type]
    return [*listed, *inner]


def test_cloud_roles_touch_only_the_home() -> None:
    """No become, no users, no packages, no units, no absolute path: the same roles serve a laptop and a VM."""
    host = set().union(*(roles_of(play) for play in plays() if play.get("become")))
    wrong = []
    for role in roles():
        if role.name in host:
            continue
        for path in [p for p in role.rglob("*") if p.suffix in (".yml", ".j2")]:
            text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
            wrong += [f"{path.relative_to(ROOT)}: {found}" for found in ABSOLUTE.findall(text)]
            if path.suffix == ".yml" and path.parent.name in ("tasks", "handlers"):
                for task in tasks(yaml.safe_load(text) or []):
                    wrong += [
                        f"{path.relative_to(ROOT)}: {key}"
                        for key in task
                        if key.startswith("become") or FORBIDDEN_MODULES.search(key)
                    ]
    assert wrong == []


def test_every_task_has_a_sentence_for_a_name() -> None:
    for role in roles():
        for path in (role / "tasks").glob("*.yml"):
            for task in yaml.safe_load(path.read_text()) or []:
                assert re.match(r"[A-Z].* ", task.get("name", "")), f"{path.relative_to(ROOT)}: {task}"


def test_the_settings_reference_is_current() -> None:
    """Mend it with `.venv/bin/python scripts/settings_reference.py`."""
    import sys

    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "settings_reference.py"), "--check"], check=False)
    assert done.returncode == 0
