"""A manifest and the catalogue make servers that stand by themselves; schema and template agree with the loader."""

import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from central_mcp.manifest import (
    CATEGORIES,
    Catalogue,
    CatalogueError,
    ManifestError,
    json_schema,
    load,
    resolve,
    template,
)

HEAD = "central: 1\nproject: P\nservers:\n"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return Catalogue.read()


def test_use_takes_package_pins_and_settings_from_the_catalogue(catalogue: Catalogue) -> None:
    server = resolve(load((HEAD + "  sqlite: {use: sqlite}\n").encode()), catalogue)["sqlite"]
    assert (server.kind, server.requirement, server.pins) == ("pypi", "mcp-server-sqlite==2025.4.25", ("mcp<2",))
    assert (server.category, server.sessions) == ("database", "shared")
    assert "{data}/central.db" in server.run


def test_as_renames_and_the_manifest_wins_over_the_entry(catalogue: Catalogue) -> None:
    text = (
        "  x: {use: fetch, as: web, env: {A: b}, sessions: per-client, limits: {call: 5s}, run: [mcp-server-fetch]}\n"
    )
    server = resolve(load((HEAD + text).encode()), catalogue)["web"]
    assert server.env == {"PATH": "{env}/bin", "A": "b"}
    assert (server.name, server.sessions, server.limits.call, server.run) == (
        "web", "per-client", 5.0, ("mcp-server-fetch",),
    )  # fmt: skip


def test_an_entry_that_does_not_exist_is_told_with_its_line(catalogue: Catalogue) -> None:
    with pytest.raises(ManifestError) as caught:
        resolve(load((HEAD + "  a: {use: sqlitte}\n  b: {use: zzzzzz}\n").encode()), catalogue)
    first, second = map(str, caught.value.problems)
    assert first == "central.yml:4: servers.a.use: 'sqlitte' is not in the catalogue; did you mean \"sqlite\"?"
    assert second.startswith("central.yml:5: servers.b.use: 'zzzzzz' is not in the catalogue; known are ")


def test_equal_text_resolves_to_equal_values_and_any_change_does_not(catalogue: Catalogue) -> None:
    text = HEAD + "  a: {use: fetch}\n  b: {category: api, package: 'npm:@a/b@1.0.0'}\n"
    assert resolve(load(text.encode()), catalogue) == resolve(load(text.encode()), catalogue)
    assert resolve(load(text.replace("1.0.0", "1.0.1").encode()), catalogue)["b"].version == "1.0.1"


def test_every_entry_of_the_catalogue_is_pinned_described_and_resolves(catalogue: Catalogue) -> None:
    assert {"sqlite", "git-operations", "filesystem", "fetch"} <= set(catalogue)
    text = HEAD + "".join(f"  {name}: {{use: {name}}}\n" for name in catalogue)
    for name, server in resolve(load(text.encode()), catalogue).items():
        assert server.category in CATEGORIES, name
        assert catalogue[name].licence, name
        assert catalogue[name].description, name


def test_a_wrong_entry_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "api").mkdir()
    (tmp_path / "api" / "x.yml").write_text("description: x\npackage: pypi:x\nname: y\n")
    with pytest.raises(CatalogueError) as caught:
        Catalogue.read(tmp_path)
    assert [p.line for p in caught.value.problems] == [2, 3]
    assert str(caught.value).startswith(f"{tmp_path}/api/x.yml:2: package: must be pinned")


def test_the_template_is_valid_for_the_loader_and_the_schema(catalogue: Catalogue) -> None:
    text = template("PROJECT_airbnsearch")
    (name,) = resolve(load(text.encode()), catalogue)
    assert name == "airbnsearch-files"
    jsonschema.validate(yaml.safe_load(text), json_schema())
    with pytest.raises(ValueError, match="a project's name"):
        template("a b")


def test_the_examples_of_the_template_are_valid_when_uncommented(catalogue: Catalogue) -> None:
    lines = template("P").splitlines()
    kept = [line.replace("  # ", "  ", 1) if line.startswith("  # ") and ":" in line else line for line in lines]
    text = "\n".join(line for line in kept if not line.startswith("  A ") and not line.startswith("  Source "))
    servers = resolve(load(text.encode()), catalogue)
    assert {server.kind for server in servers.values()} == {"npm", "pypi", "source"}


@pytest.mark.parametrize("path", ["examples/fleet/central.yml"])
def test_the_example_fleet_agrees_with_loader_and_schema(path: str, catalogue: Catalogue) -> None:
    text = (ROOT / path).read_bytes()
    assert len(resolve(load(text), catalogue)) == 5
    jsonschema.validate(yaml.safe_load(text), json_schema())


def test_the_schema_refuses_what_the_loader_refuses() -> None:
    schema = json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    good = {"central": 1, "project": "P", "servers": {"a": {"use": "fetch"}}}
    assert not list(validator.iter_errors(good))
    changes: tuple[dict[str, object], ...] = (
        {"central": 2},
        {"project": "a b"},
        {"extra": 1},
        {"servers": {"a": {}}},
        {"servers": {"a": {"use": "x", "package": "pypi:a==1"}}},
        {"servers": {"a": {"use": "x", "limits": {"memory": "1Q"}}}},
        {"servers": {"a": {"use": "x", "category": "other"}}},
        {"servers": {"A": {"use": "x"}}},
    )
    for change in changes:
        assert list(validator.iter_errors({**good, **change})), change


def test_every_key_of_the_schema_is_described() -> None:
    server = json_schema()["$defs"]["ServerSpec"]["properties"]
    missing = [key for key, value in server.items() if "description" not in value and "$ref" not in value]
    assert missing == []


def test_the_reference_is_current() -> None:
    """Mend it with `.venv/bin/python scripts/manifest_reference.py`."""
    script = ROOT / "scripts" / "manifest_reference.py"
    assert subprocess.run([sys.executable, script, "--check"], check=False).returncode == 0
