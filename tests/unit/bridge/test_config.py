"""Settings: what is expanded, what is refused, and that every refusal says what to do."""

import os
from pathlib import Path

import pytest

from central_bridge.config import ConfigError, expand, load, load_key, parse_url

GOOD = {"CENTRAL_MCP_URL": "ws://127.0.0.1:3000/mcp", "PROJECT_NAME": "PROJECT_x", "API_KEY": "abc"}


def settings(**env: str):
    return load({**GOOD, **env})


def test_the_readme_example_is_understood():
    found = settings(API_KEY="${DOPPLER_CENTRAL_MCP_API_KEY}", DOPPLER_CENTRAL_MCP_API_KEY="s3cret", CLIENT_ID="me")
    assert (found.key, found.client, found.project) == ("s3cret", "me", "PROJECT_x")
    assert found.key_source == "${DOPPLER_CENTRAL_MCP_API_KEY}"


@pytest.mark.parametrize(
    ("text", "env", "expected"),
    [
        ("${A}", {"A": "1"}, "1"),
        ("${env:A}", {"A": "1"}, "1"),
        ("x${A}y${B:-z}", {"A": "1"}, "x1yz"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A:-}", {}, ""),
        ("$A", {"A": "1"}, "$A"),
        ("plain", {}, "plain"),
    ],
)
def test_references_are_expanded(text: str, env: dict[str, str], expected: str):
    assert expand("API_KEY", text, env) == expected


@pytest.mark.parametrize(
    ("text", "env", "says"),
    [
        ("${NOPE}", {}, "NOPE is not set"),
        ("${EMPTY}", {"EMPTY": ""}, "EMPTY is not set or is empty"),
        ("${API_KEY}", {"API_KEY": "${API_KEY}"}, "refers to itself"),
        ("${A}", {"A": "${A}"}, "A is not set"),
        ("${A}", {"A": "${B}"}, "nobody expanded"),
        ("${input:key}", {}, "nobody expanded"),
        ("${unclosed", {}, "nobody expanded"),
    ],
)
def test_a_literal_reference_is_never_sent(text: str, env: dict[str, str], says: str):
    with pytest.raises(ConfigError, match=says) as caught:
        expand("API_KEY", text, env)
    assert "API_KEY" in str(caught.value)


def test_a_key_is_read_from_a_file_and_trimmed(tmp_path: Path):
    file = tmp_path / "key with space ü"
    file.write_bytes(b"\xef\xbb\xbfk-1\r\n")
    file.chmod(0o600)
    found = settings(API_KEY=f"file:{file}")
    assert (found.key, found.warnings) == ("k-1", ())


def test_a_file_below_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "key").write_text("k-2\n")
    (tmp_path / "key").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings(API_KEY="file:~/key").key == "k-2"


def test_a_file_url_is_understood(tmp_path: Path):
    (tmp_path / "key").write_text("k-3")
    assert load_key({"API_KEY": f"file://{tmp_path}/key"}) == "k-3"


def test_a_reference_may_lead_to_a_file(tmp_path: Path):
    (tmp_path / "key").write_text("k-4")
    assert load_key({"API_KEY": "${WHERE}", "WHERE": f"file:{tmp_path}/key"}) == "k-4"


@pytest.mark.skipif(os.name != "posix", reason="permission bits are Unix's")
def test_a_key_file_that_others_can_read_is_told(tmp_path: Path):
    file = tmp_path / "key"
    file.write_text("k")
    file.chmod(0o644)
    (warning,) = settings(API_KEY=f"file:{file}").warnings
    assert "chmod 600" in warning
    assert str(file) in warning


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "cannot be read"), (b"", "empty"), (b"\xff\xfek\0", "not UTF-8"), (b"a\nb", "line break")],
)
def test_a_bad_key_file_is_named(tmp_path: Path, content: bytes | None, says: str):
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    with pytest.raises(ConfigError, match=says):
        settings(API_KEY=f"file:{tmp_path}/key")


def test_a_relative_file_is_refused():
    with pytest.raises(ConfigError, match="relative path"):
        settings(API_KEY="file:key.txt")


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("ws://vm:3000/mcp", "ws://vm:3000/mcp", "vm"),
        ("http://vm:3000", "ws://vm:3000/mcp", "vm"),
        ("https://vm.example/s/git/mcp", "wss://vm.example/s/git/mcp", "vm.example"),
        ("WSS://VM/", "wss://vm/mcp", "vm"),
        ("ws://[::1]:3000/mcp", "ws://[::1]:3000/mcp", "::1"),
    ],
)
def test_urls(text: str, url: str, host: str):
    assert parse_url(text) == (url, host)


@pytest.mark.parametrize(
    "text",
    ["vm:3000", "ftp://vm/", "ws://", "ws://vm:port/", "ws://k:s3cret@vm/", "ws://vm/mcp?key=s3cret", "ws://v m/"],
)
def test_other_urls_are_refused_without_showing_a_secret(text: str):
    with pytest.raises(ConfigError) as caught:
        parse_url(text)
    assert "CENTRAL_MCP_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", sorted(GOOD))
def test_what_is_missing_is_named(name: str):
    with pytest.raises(ConfigError, match=f"{name} is not set"):
        load({key: value for key, value in GOOD.items() if key != name})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROJECT_NAME", "my project"),
        ("PROJECT_NAME", "x\r\nX-Evil: 1"),
        ("CLIENT_ID", "a\nb"),
        ("API_KEY", "key\r\nX-Evil: 1"),
        ("CENTRAL_MCP_WAIT", "soon"),
        ("CENTRAL_MCP_WAIT", "nan"),
        ("CENTRAL_LOG", "loud"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, value: str):
    with pytest.raises(ConfigError, match=name):
        settings(**{name: value})


def test_plain_text_to_another_host_is_a_warning_not_an_error():
    (warning,) = settings(CENTRAL_MCP_URL="ws://vm.example:3000/mcp").warnings
    assert "not encrypted" in warning
    assert settings(CENTRAL_MCP_URL="ws://localhost:3000").warnings == ()
    assert settings(CENTRAL_MCP_URL="wss://vm.example").warnings == ()


def test_the_log_setting():
    assert (settings(CENTRAL_LOG="debug").log_level, settings(CENTRAL_LOG="debug").log_file) == ("debug", None)
    assert settings(CENTRAL_LOG=r"info,C:\x\b.log").log_file == r"C:\x\b.log"
