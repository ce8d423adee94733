"""The `home` role converges, keeps what it recorded, and refuses what is not its own."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from central_mcp.home import Home
from central_mcp.provision import ProvisionError
from central_mcp.provision.home import prepare, run_folder

WISHES = {"playbooks": "/checkout/playbooks", "port": 3456}


@pytest.fixture
def root() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="c", dir="/tmp") as folder:
        yield Path(folder) / "h"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_home_is_made_whole(root: Path) -> None:
    outcome = prepare(root, WISHES)
    home = Home(root)
    assert outcome.changed
    assert (mode(root), mode(home.etc), mode(home.run), mode(home.run / "s")) == (0o700, 0o700, 0o700, 0o700)
    assert (mode(home.machine_key), len(home.machine_key.read_bytes())) == (0o600, 32)
    assert home.settings.port == 3456
    assert home.run == root / "run"


def test_a_second_time_nothing_changes_and_the_key_stays(root: Path) -> None:
    prepare(root, WISHES)
    key = Home(root).machine_key.read_bytes()
    outcome = prepare(root, WISHES)
    assert (outcome.changed, outcome.result()["diff"]) == (False, [])
    assert Home(root).machine_key.read_bytes() == key


def test_check_mode_tells_and_changes_nothing(root: Path) -> None:
    outcome = prepare(root, WISHES, check=True)
    assert outcome.changed
    assert '"port": 3456' in outcome.result()["diff"][0]["after"]
    assert not root.exists()


def test_what_is_not_wished_for_stays_as_recorded(root: Path) -> None:
    prepare(root, {**WISHES, "branch": "live"})
    prepare(root, {"playbooks": "/checkout/playbooks"})
    assert (Home(root).settings.port, Home(root).settings.branch) == (3456, "live")


def test_a_mode_that_was_loosened_is_set_right(root: Path) -> None:
    prepare(root, WISHES)
    Home(root).etc.chmod(0o755)
    outcome = prepare(root, WISHES)
    assert outcome.lines == [f"mode of {root}/etc: 0755 -> 0700"]
    assert mode(Home(root).etc) == 0o700


def test_a_long_home_gets_its_sockets_in_the_temporary_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = root / ("d" * 90)
    monkeypatch.setenv("TMPDIR", str(root.parent))
    monkeypatch.setattr(tempfile, "tempdir", None)
    prepare(long, WISHES)
    chosen = Home(long).run
    assert chosen.parent == root.parent
    assert mode(chosen) == 0o700
    assert run_folder(long) == chosen
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    monkeypatch.setattr(tempfile, "tempdir", None)
    prepare(long, WISHES)
    assert Home(long).run == chosen  # chosen once and recorded


def test_a_run_folder_too_long_for_sockets_is_refused(root: Path) -> None:
    with pytest.raises(ProvisionError, match="100 is the limit"):
        prepare(root, {**WISHES, "run": f"/tmp/{'r' * 90}"})
    assert not root.exists()


def test_a_link_in_place_of_the_run_folder_is_refused(root: Path) -> None:
    (root.parent / "elsewhere").mkdir()
    (root.parent / "r").symlink_to(root.parent / "elsewhere")
    with pytest.raises(ProvisionError, match="in the way: not a folder of this user"):
        prepare(root, {**WISHES, "run": str(root.parent / "r")})


def test_a_wrong_setting_is_named(root: Path) -> None:
    with pytest.raises(ProvisionError, match=r"setting port: .*docs/settings\.md"):
        prepare(root, {**WISHES, "port": 70000})


def test_broken_settings_are_named_with_their_file(root: Path) -> None:
    prepare(root, WISHES)
    (root / "etc" / "settings.json").write_text(json.dumps({"port": "many"}))
    with pytest.raises(ProvisionError, match=r"settings\.json: .*remove that file"):
        prepare(root, WISHES)


def test_it_belongs_to_this_user(root: Path) -> None:
    prepare(root, WISHES)
    assert {path.stat().st_uid for path in root.rglob("*")} == {os.getuid()}
