"""Environments are built with the real uv and npm from small packages; what goes wrong leaves nothing behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from central_mcp.rollout.environment import Built, remove_unused
from central_mcp.rollout.errors import BuildError
from central_mcp.supervise import run_as
from tests.integration.builds import UV, Builder, declare, make_home, output
from tests.waiting import SECOND, wait_until

IDNA = "package: 'pypi:idna==3.20', run: [idna]"
SEMVER = "package: 'npm:semver@7.7.2'"
PRINT_IDNA = {"pyproject.toml": '[project]\nname = "p"\nversion = "1"\ndependencies = ["idna==3.20"]\n'}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """One home for all tests that only add to it."""
    return Builder(make_home(tmp_path_factory.mktemp("home")))


@pytest.fixture
def fresh(tmp_path: Path) -> Builder:
    return Builder(make_home(tmp_path / "home"))


def not_called(*_args: object, **_kwargs: object) -> int:
    raise AssertionError("a package client was started although there is nothing to do")


def failure(builder: Builder, text: str, files: dict[str, str] | None = None) -> BuildError:
    with pytest.raises(BuildError) as caught:
        builder.build(declare(text), files)
    assert caught.value.server == "a"
    assert all((path / ".complete").exists() for path in builder.environments())
    return caught.value


def test_a_package_of_pypi_becomes_a_locked_compiled_read_only_environment(shared: Builder) -> None:
    built = shared.build(declare(IDNA))
    assert built.env_dir is not None
    assert built.argv == (str(built.env_dir / "bin/idna"),)
    assert "usage" in output(built, "--help").lower()
    assert built.lock_name == "a.txt"
    assert built.lock is not None
    assert b"--hash=sha256:" in built.lock
    assert b"://" not in built.lock
    module = next(built.env_dir.glob("lib/python*/site-packages/idna/core.py"))
    assert list(module.parent.glob("__pycache__/core.*.pyc"))
    assert module.stat().st_mode & 0o222 == 0
    assert module.stat().st_nlink == 1, "shares its inode with uv's cache, which would be read-only now"
    assert built.cwd == shared.home.data / "P/a"
    assert built.env["CENTRAL_DATA"] == str(built.cwd)
    assert not any(key.startswith(("UV_", "PIP_")) for key in built.env)


def test_the_same_lock_is_the_same_environment_and_starts_no_client(shared: Builder) -> None:
    first = shared.build(declare(IDNA))
    again = shared.build(declare(IDNA.replace("[idna]", "[idna, --help]")), previous=first.lock, run=not_called)
    assert (again.env_dir, again.lock, again.reused) == (first.env_dir, first.lock, True)
    assert again.argv == (*first.argv, "--help")


def test_a_lock_of_other_wishes_is_not_taken(shared: Builder) -> None:
    first = shared.build(declare(IDNA))
    other = shared.build(declare("package: 'pypi:idna==3.10', run: [python]"), previous=first.lock)
    assert other.lock is not None
    assert b"idna==3.10" in other.lock
    assert other.env_dir != first.env_dir


def test_the_lock_is_kept_in_the_release(shared: Builder) -> None:
    built = shared.build(declare(IDNA))
    folder = shared.home.projects / f"P/releases/{shared.releases}-0000000/locks"
    assert [path.name for path in folder.iterdir()] == ["a.txt"]
    assert (folder / "a.txt").read_bytes() == built.lock


def test_a_package_of_npm_starts_with_our_node_and_a_lock_without_addresses(shared: Builder) -> None:
    built = shared.build(declare(SEMVER))
    assert built.argv[0] == str(shared.home.settings.node)
    assert output(built, "1.2.3", "--increment", "major") == "2.0.0"
    assert built.lock is not None
    lock = json.loads(built.lock)
    assert lock["packages"]["node_modules/semver"]["integrity"].startswith("sha512-")
    assert b"resolved" not in built.lock
    again = shared.build(declare(SEMVER), previous=built.lock, run=not_called)
    assert (again.env_dir, again.reused) == (built.env_dir, True)


def test_source_in_a_src_layout_with_a_hashed_lock_is_importable(shared: Builder) -> None:
    lock = shared.build(declare(IDNA)).lock
    assert lock is not None
    files = {
        "requirements.txt": lock.decode(),
        "src/mine/__init__.py": "",
        "src/mine/__main__.py": "import idna; print('up')",
    }
    built = shared.build(declare("source: ., run: [python, -m, mine]"), files)
    assert output(built) == "up"
    assert built.lock == lock
    assert built.cwd.name == "a"
    assert list((built.cwd / "src/mine/__pycache__").iterdir())


def test_source_without_a_lock_gets_one_from_its_pyproject(shared: Builder) -> None:
    files = {**PRINT_IDNA, "main.py": "import idna; print(idna.__version__)"}
    built = shared.build(declare("source: ., run: [python, main.py]"), files)
    assert output(built) == "3.20"
    assert built.lock is not None
    again = shared.build(declare("source: ., run: [python, main.py]"), files, previous=built.lock, run=not_called)
    assert again.lock == built.lock


def test_source_with_uv_lock_is_built_from_it(shared: Builder, tmp_path: Path) -> None:
    text = PRINT_IDNA["pyproject.toml"] + 'requires-python = ">=3.11"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    subprocess.run([UV, "lock", "--quiet", "--python", sys.executable], cwd=tmp_path, check=True, timeout=120)
    files = {"pyproject.toml": text, "uv.lock": (tmp_path / "uv.lock").read_text(), "main.py": "import idna; print(1)"}
    built = shared.build(declare("source: ., run: [python, main.py]"), files)
    assert output(built) == "1"
    assert built.lock is not None
    assert b"idna==3.20" in built.lock
    assert b"://" not in built.lock


def test_source_that_needs_nothing_starts_with_the_interpreter_alone(shared: Builder) -> None:
    built = shared.build(
        declare("source: ., run: [python, main.py, '{data}']"),
        {"main.py": "import sys; print(sys.argv[1])"},
        run=not_called,
    )
    assert (built.env_dir, built.lock) == (None, None)
    assert output(built) == str(shared.home.data / "P/a")


def test_source_for_node_finds_its_packages_as_esm_does(shared: Builder) -> None:
    files = {
        "package.json": json.dumps({"name": "m", "type": "module", "dependencies": {"semver": "7.7.2"}}),
        "main.js": "import semver from 'semver'; console.log(semver.inc('1.2.3', 'minor'))",
    }
    built = shared.build(declare("source: ., run: [node, main.js]"), files)
    assert output(built) == "1.3.0"
    assert built.lock_name == "a.json"


@pytest.mark.parametrize(
    ("package", "cause"),
    [
        ("pypi:mcp-server-nope-zz==1.0", "package mcp-server-nope-zz==1.0 does not exist"),
        ("pypi:idna==0.0.99", "package idna==0.0.99 does not exist"),
        ("npm:mcp-server-nope-zz@1.0.0", "package mcp-server-nope-zz@1.0.0 does not exist"),
        ("npm:semver@0.0.99", "package semver@0.0.99 does not exist"),
        ("pypi:docopt==0.6.2", "docopt==0.6.2 has no wheel for this machine"),
    ],
)
def test_a_package_that_cannot_be_had_is_named(shared: Builder, package: str, cause: str) -> None:
    error = failure(shared, f"package: '{package}'")
    assert (error.stage, error.cause) == ("lock", cause)
    assert error.hint
    assert error.log_tail


def test_scripts_true_lets_a_package_build_from_source(shared: Builder) -> None:
    built = shared.build(
        declare("package: 'pypi:docopt==0.6.2', run: [python, -c, 'import docopt; print(1)'], scripts: true")
    )
    assert output(built) == "1"


def test_a_lock_that_names_another_file_is_refused(shared: Builder) -> None:
    wrong = f"idna==3.20 --hash=sha256:{'0' * 64}\n"
    error = failure(shared, "source: ., run: [python, -m, x]", {"requirements.txt": wrong})
    assert (error.stage, error.cause) == ("install", "idna==3.20 is not the file that the lock names")


def test_a_program_that_is_not_there_is_told_with_those_that_are(shared: Builder) -> None:
    error = failure(shared, IDNA.replace("[idna]", "[idnaa]"))
    assert (error.cause, error.hint) == ("its environment has no program 'idnaa'", "it has idna")
    error = failure(shared, "source: ., run: [./start]", {"x": ""})
    assert error.cause == "there is no program './start'"
    error = failure(shared, "package: 'pypi:six==1.17.0'")
    assert error.cause == "package six has no program"


def test_two_builders_at_once_make_one_environment(fresh: Builder) -> None:
    lock = fresh.build(declare("package: 'pypi:idna==3.10', run: [python]")).lock
    assert remove_unused(fresh.home, set()) != []
    installs = []

    def counting(user: str | None, argv: list[str], **how: object) -> int:
        installs.append("install" in argv)
        return run_as(user, argv, **how)  # type: ignore[arg-type]

    built: list[Built] = []

    def one() -> None:
        built.append(fresh.build(declare("package: 'pypi:idna==3.10', run: [python]"), previous=lock, run=counting))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120 * SECOND)
    assert len({b.env_dir for b in built}) == 1
    assert len(built) == 3
    assert installs.count(True) == 1


SLOW_UV = """#!/bin/sh
{uv} "$@" || exit $?
case "$*" in *"pip install"*) touch {flag}; exec tail -f {flag};; esac
"""
BUILD_ALONE = """
import sys
from pathlib import Path
from tests.integration.builds import Builder, declare, make_home
root, uv = Path(sys.argv[1]), Path(sys.argv[2])
Builder(make_home(root, uv)).build(declare(sys.argv[3]))
"""


def test_a_builder_killed_in_the_middle_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    uv, flag, home = tmp_path / "uv", tmp_path / "half", tmp_path / "home"
    uv.write_text(SLOW_UV.format(uv=UV, flag=flag))
    uv.chmod(0o755)
    text = "package: 'pypi:idna==3.10', run: [python, -c, 'import idna; print(1)']"
    root = Path(__file__).parents[2]
    killed = subprocess.Popen([sys.executable, "-c", BUILD_ALONE, home, uv, text], cwd=root, start_new_session=True)
    try:
        wait_until(lambda: flag.exists() or killed.poll() is not None, "the packages are installed", timeout=120)
        assert flag.exists()
    finally:
        killed.kill()
        killed.wait()
    wait_until(lambda: not processes_with(str(flag)), "uv has died with its builder")
    builder = Builder(make_home(home))
    (half,) = builder.environments()
    assert not (half / ".complete").exists()
    (half / "leftover").touch()
    built = builder.build(declare(text))
    assert built.env_dir == half
    assert (built.reused, (half / "leftover").exists(), (half / ".complete").exists()) == (False, False, True)
    assert output(built) == "1"


def processes_with(text: str) -> list[int]:
    """Processes whose command line holds `text`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if text.encode() in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def test_a_client_that_is_ended_by_a_signal_is_an_error_and_leaves_nothing(fresh: Builder) -> None:
    def killed(user: str | None, argv: list[str], **how: object) -> int:
        code = run_as(user, argv, **how)  # type: ignore[arg-type]
        return -signal.SIGKILL if "install" in argv else code

    with pytest.raises(BuildError, match="uv ended with code -9") as caught:
        fresh.build(declare(IDNA), run=killed)
    assert caught.value.stage == "install"
    assert fresh.environments() == []


FULL_DISK = """
mount -t tmpfs -o size=600k tmpfs "$1/envs" && exec "$0" -c "$2" "$1" "$3" "$4"
"""
BUILD_AND_TELL = """
import json, sys
from pathlib import Path
from central_mcp.rollout.errors import BuildError
from tests.integration.builds import Builder, declare, make_home
builder = Builder(make_home(Path(sys.argv[1]), Path(sys.argv[2])))
try:
    builder.build(declare(sys.argv[3]))
except BuildError as exc:
    print(json.dumps([exc.stage, exc.cause, len(builder.environments())]))
"""


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "envs").mkdir(parents=True)
    if not shutil.which("unshare") or subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("this machine has no user namespaces, which give the test a small disk")
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", FULL_DISK, sys.executable, home, BUILD_AND_TELL, UV, IDNA],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout) == ["install", "the disk is full", 0], done.stderr


def test_environments_that_no_release_needs_are_removed(fresh: Builder) -> None:
    kept = fresh.build(declare("package: 'pypi:idna==3.10', run: [python]"))
    unused = fresh.build(declare(IDNA))
    assert kept.env_dir is not None
    assert unused.env_dir is not None
    assert remove_unused(fresh.home, {kept.env_dir}) == [unused.env_dir]
    assert fresh.environments() == [kept.env_dir]


def test_a_name_that_passes_to_another_project_takes_no_data_along(shared: Builder) -> None:
    text, files = "source: ., run: [python, main.py]", {"main.py": ""}
    before = Path(shared.build(declare(text, "notes"), files, project="P").env["CENTRAL_DATA"])
    (before / "notes.db").write_text("of P alone")
    after = Path(shared.build(declare(text, "notes"), files, project="Q").env["CENTRAL_DATA"])
    assert list(after.iterdir()) == []
    assert Path(shared.build(declare(text, "notes"), files, project="P").env["CENTRAL_DATA"]) == before


def test_the_data_of_a_git_server_is_a_repository_once_and_for_all(fresh: Builder) -> None:
    from central_mcp.manifest import Catalogue, load, resolve
    from central_mcp.rollout.data import folder_of, prepare

    server = resolve(load(b"central: 1\nproject: P\nservers: {g: {use: git-operations}}\n"), Catalogue.read())["g"]
    folder = folder_of(fresh.home, "P", "g")
    prepare(server, folder)
    head = (folder / ".git/HEAD").read_text()
    (folder / "README.md").write_text("mine")
    prepare(server, folder)
    assert (head, (folder / "README.md").read_text()) == ("ref: refs/heads/main\n", "mine")
    (folder / ".git/refs/heads/main").unlink()  # as if it had been stopped before the first commit
    prepare(server, folder)
    assert (folder / ".git/refs/heads/main").exists()
