"""What uv and npm wrote, in one sentence a person can act on. Pure: lines in, cause and hint out."""

import re
from collections.abc import Callable, Sequence

Finding = tuple[str, str]

_RULES: list[tuple[re.Pattern[str], Callable[[re.Match[str]], Finding]]] = [
    (
        re.compile(r"No space left on device|ENOSPC|os error 28"),
        lambda m: ("the disk is full", "free some space; `central doctor` shows the folders. Nothing was changed"),
    ),
    (
        re.compile(r"Because (\S+) was not found in the [a-z ]+ and you require ([^\s,]+)"),
        lambda m: (f"package {m[2]} does not exist", "look at its name in the manifest"),
    ),
    (
        re.compile(r"Because there (?:is|are) no versions? of (\S+?)(?:\[[^\]]*\])?(==[^\s,]+)"),
        lambda m: (f"package {m[1]}{m[2]} does not exist", "the package has other versions; correct the pinned one"),
    ),
    (
        re.compile(r"current Python version \(([^)]+)\) does not satisfy Python(\S+) and (\S+) depends on"),
        lambda m: (f"{m[3]} needs Python {m[2]}, and this machine has {m[1]}", "pin a version that runs here"),
    ),
    (
        re.compile(r"npm error 404\s+The requested resource '([^']+)'|npm error 404\s+'([^']+)' is not in"),
        lambda m: (f"package {m[1] or m[2]} does not exist", "look at its name in the manifest"),
    ),
    (
        re.compile(r"npm error notarget No matching version found for (\S+?)\.?$", re.MULTILINE),
        lambda m: (f"package {m[1]} does not exist", "the package has other versions; correct the pinned one"),
    ),
    (
        re.compile(r"Hash mismatch for `([^`]+)`|EINTEGRITY[^\n]*?(\S+@\S+)?"),
        lambda m: (
            f"{m[1] or m[2] or 'a package'} is not the file that the lock names",
            "make the lock again, and find out why",
        ),
    ),
    (
        re.compile(r"Because (\S+) has no (?:usable wheels|wheels with a matching)[^\n]*|(\S+) has no usable wheels"),
        lambda m: (
            f"{m[1] or m[2]} has no wheel for this machine",
            "take another version, or allow builds with `scripts: true`",
        ),
    ),
    (
        re.compile(r"npm error code EUSAGE|can only install packages when your package\.json"),
        lambda m: ("package.json and package-lock.json do not belong together", "run `npm install` and commit both"),
    ),
    (
        re.compile(
            r"ENOTFOUND|ECONN(REFUSED|RESET)|ETIMEDOUT|EAI_AGAIN|dns error|error sending request|Connection refused",
            re.I,
        ),
        lambda m: (
            "the package index cannot be reached from this machine",
            "try again; the same commit can be pushed again",
        ),
    ),
    (
        re.compile(r"Because [^\n]+?(?:we can conclude|your requirements are unsatisfiable)[^\n]*"),
        lambda m: (
            f"its dependencies contradict each other: {_shorten(m[0])}",
            "change the versions or pins that are named",
        ),
    ),
    (
        re.compile(r"--require-hashes mode|must have a hash|requires? hashes", re.IGNORECASE),
        lambda m: ("its lock has entries without a hash", "make it with `uv pip compile --generate-hashes`"),
    ),
]


def explain(lines: Sequence[str], code: int, program: str) -> Finding:
    """The likeliest cause and what to do. Falls back on the program's own last words."""
    text = "\n".join(lines)
    for pattern, finding in _RULES:
        found = pattern.search(text)
        if found:
            return finding(found)
    last = next((_shorten(line) for line in lines if re.match(r"\s*(npm )?error", line, re.IGNORECASE)), "")
    return (f"{program} ended with code {code}" + (f": {last}" if last else ""), "")


def _shorten(text: str, limit: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
