"""YAML text to plain data, with the line of every key and value. Pure; bounded, because the text comes from a push.

`read()` finds everything that is wrong with the YAML itself; `load` and `catalogue` call it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml

from central_mcp.manifest.errors import ManifestError, Problem

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_NODES = 100_000
"""Nodes after aliases are followed: 1000 servers of 50 values each fit, an alias bomb does not."""
MAX_ALIASES = 1_000

_Loader: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PREFIX = "tag:yaml.org,2002:"
_KINDS = frozenset({"map", "seq", "str", "int", "float", "bool", "null", "timestamp", "value"})
Path = tuple[str, ...]


@dataclass
class Document:
    """Data of one YAML file. `keys` and `values` hold (line, column), 1-based, of every path."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    keys: dict[Path, tuple[int, int]] = field(default_factory=dict)
    values: dict[Path, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    verbatim: Callable[[Path], bool] = lambda path: False
    """Paths whose scalars stay exactly as they are written: `1.10`, `yes` and `0123` in `env`."""
    _nodes: int = 0

    def problem(self, path: Path, what: str, hint: str = "", *, key: bool = False) -> Problem:
        """A problem at `path`, or at the nearest place above it that the file has."""
        line, column = 0, 0
        for end in range(len(path), -1, -1):
            marks = self.keys if (key or end < len(path)) else self.values
            found = marks.get(path[:end]) or self.keys.get(path[:end]) or self.values.get(path[:end])
            if found:
                line, column = found
                break
        return Problem(self.file, line, column, dotted(path), what, hint)

    def report(self, path: Path, what: str, hint: str = "", *, key: bool = False) -> None:
        self.problems.append(self.problem(path, what, hint, key=key))


def dotted(path: Path) -> str:
    return ".".join(path).replace(".[", "[")


def read(text: bytes, file: str, verbatim: Callable[[Path], bool] = lambda path: False) -> Document:
    """Read one mapping. Raises `ManifestError` when nothing can be read; other findings are in `.problems`."""
    document = Document(file, verbatim=verbatim)
    source = _decode(text, file)
    try:
        _bound(source, file)
        root = yaml.compose(source, Loader=_Loader)
    except yaml.MarkedYAMLError as exc:
        raise ManifestError([_syntax(exc, file)]) from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ManifestError([Problem(file, 1, 1, "", f"is not YAML: {str(exc).splitlines()[0]}")]) from exc
    if root is None:
        raise ManifestError([Problem(file, 1, 1, "", "is empty", "`central init` writes a first one")])
    if not isinstance(root, yaml.MappingNode):
        raise ManifestError([Problem(file, 1, 1, "", "must be a mapping of keys, such as `central: 1`")])
    document.data = _value(document, root, ())
    return document


def _decode(text: bytes, file: str) -> str:
    if len(text) > MAX_BYTES:
        raise ManifestError([Problem(file, 0, 0, "", f"has {len(text)} bytes; at most {MAX_BYTES} are read")])
    try:
        return text.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = text.count(b"\n", 0, exc.start) + 1
        raise ManifestError([Problem(file, line, 1, "", "is not UTF-8 text", "save it as UTF-8")]) from exc


def _bound(source: str, file: str) -> None:
    """Refuse depth and aliases before anything recursive sees them; `yaml.parse` itself only yields events."""
    depth = aliases = 0
    for event in yaml.parse(source, Loader=_Loader):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            depth += 1
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth -= 1
        aliases += isinstance(event, yaml.AliasEvent)
        if depth > MAX_DEPTH or aliases > MAX_ALIASES:
            line, column = _mark(event)
            what = f"is nested deeper than {MAX_DEPTH}" if depth > MAX_DEPTH else f"has more than {MAX_ALIASES} aliases"
            raise ManifestError([Problem(file, line, column, "", what)])


def _value(document: Document, node: Any, path: Path) -> Any:
    document._nodes += 1
    if document._nodes > MAX_NODES or len(path) > MAX_DEPTH:
        what = f"has more than {MAX_NODES} values once its aliases are followed, or an alias of itself"
        raise ManifestError([Problem(document.file, *_mark(node), dotted(path), what, "write it without aliases")])
    document.values.setdefault(path, _mark(node))
    kind = node.tag.removeprefix(_PREFIX)
    if kind not in _KINDS:
        document.report(path, f"the tag {node.tag} has no meaning here", "remove it")
    if isinstance(node, yaml.MappingNode):
        return _mapping(document, node, path)
    if isinstance(node, yaml.SequenceNode):
        return [_value(document, item, (*path, f"[{index}]")) for index, item in enumerate(node.value)]
    return _scalar(document, node, path, kind)


def _mapping(document: Document, node: Any, path: Path) -> dict[str, Any]:
    data: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line, column = _mark(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            document.problems.append(Problem(document.file, line, column, dotted(path), "a key must be plain text"))
            continue
        key = key_node.value
        here = (*path, key)
        if key_node.tag == _PREFIX + "merge":
            document.problems.append(
                Problem(document.file, line, column, dotted(here), "merge keys are not supported", "write the keys out")
            )
            continue
        if key in data:
            first = document.keys[here][0]
            document.problems.append(
                Problem(document.file, line, column, dotted(here), f"is there twice, first in line {first}", "keep one")
            )
            continue
        document.keys[here] = (line, column)
        data[key] = _value(document, value_node, here)
    return data


def _scalar(document: Document, node: Any, path: Path, kind: str) -> Any:
    if kind == "null":
        return None
    if document.verbatim(path):
        return node.value
    if kind in ("int", "float", "bool"):
        try:
            return _Construct().construct_object(node)
        except (ValueError, KeyError):
            document.report(path, f"{node.value!r} is no {kind}")
            return None
    return node.value


class _Construct(yaml.constructor.SafeConstructor):
    """YAML's own rules for numbers and booleans, nothing more."""


def _mark(node: Any) -> tuple[int, int]:
    mark = node.start_mark
    return (mark.line + 1, mark.column + 1)


def _syntax(exc: yaml.MarkedYAMLError, file: str) -> Problem:
    mark = exc.problem_mark or exc.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    what = "is not YAML: " + " ".join(part for part in (exc.context, exc.problem) if part)
    if "\\t" in what or "'\t'" in what or "tab" in what:
        return Problem(file, line, column, "", what, "indent with spaces, not tabs")
    return Problem(file, line, column, "", what)
