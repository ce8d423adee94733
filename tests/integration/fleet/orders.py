"""What an SDK client is asked to do, and what it must answer: the same for every SDK, transport and endpoint.

An order is a list of connections, and has as many reports: plain JSON, since SDKs live in different environments.
"""

from dataclasses import dataclass, field
from typing import Any

from tests import site

Connection = dict[str, Any]
Report = dict[str, Any]


@dataclass(frozen=True)
class Step:
    server: str
    tool: str
    arguments: dict[str, Any]
    says: str
    progress: list[float] = field(default_factory=list)


def steps(tag: str, folder: str, page: str) -> list[Step]:
    """Real work for each of the five servers; `tag` keeps runs apart, `folder` is the filesystem server's own."""
    file = f"{folder}/{tag}.txt"
    return [
        Step("sqlite", "create_table", {"query": f"CREATE TABLE t_{tag} (x INTEGER)"}, "Table created"),
        Step("sqlite", "write_query", {"query": f"INSERT INTO t_{tag} VALUES (41), (42)"}, "2"),
        Step("sqlite", "read_query", {"query": f"SELECT max(x) AS most FROM t_{tag}"}, "[{'most': 42}]"),
        Step("git", "git_log", {"repo_path": ".", "max_count": 1}, "A repository to work in"),
        Step("filesystem", "write_file", {"path": file, "content": f"kept for {tag} ü"}, tag),
        Step("filesystem", "read_text_file", {"path": file}, f"kept for {tag} ü"),
        Step("notes", "add_note", {"title": tag, "text": f"a note of {tag}"}, f"kept '{tag}'"),
        Step("notes", "search_notes", {"text": f"note of {tag}"}, f"a note of {tag}"),
        Step("notes", "review_notes", {"steps": 3, "pause": 0}, "words", [1, 2, 3]),
        Step("fetch", "fetch", {"url": page}, site.WORDS),
    ]


def order(todo: list[Step], single: bool) -> list[tuple[str, str, list[Step]]]:
    """(path, prefix before the tool's name with %s for the server, steps): one connection, or one for each server."""
    if not single:
        return [("/mcp", "%s__", todo)]
    servers = dict.fromkeys(step.server for step in todo)
    return [(f"/s/{server}/mcp", "", [s for s in todo if s.server == server]) for server in servers]


def asked(step: Step, prefix: str) -> dict[str, Any]:
    name = prefix.replace("%s", step.server) + step.tool
    return {"tool": name, "arguments": step.arguments, "progress": bool(step.progress)}


def check(report: Report, prefix: str, todo: list[Step]) -> None:
    """Every tool was listed, and every answer is the real one."""
    for step, answer in zip(todo, report["answers"], strict=True):
        assert asked(step, prefix)["tool"] in report["tools"], report["tools"]
        assert not answer["failed"], (step, answer)
        assert step.says in answer["text"], (step, answer)
        assert answer["progress"] == step.progress, (step, answer)
