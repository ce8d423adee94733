"""central.yml to a `Manifest`, or to the list of everything that is wrong with it. Pure; the door of this package."""

import difflib
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from central_mcp.manifest import rules
from central_mcp.manifest.document import Document, Path, read
from central_mcp.manifest.errors import ManifestError
from central_mcp.manifest.model import Manifest

LATER = "not supported yet by this version"

_LATER_KEYS: dict[Path, str] = {
    ("maintenance",): "remove it",
    ("servers", "*", "secrets"): "remove it; values must not stand in central.yml either",
    ("servers", "*", "endpoint"): "use source, package or use",
    ("servers", "*", "health", "every"): "remove it; the gate makes the call once for each release",
}
_LATER_VALUES: dict[Path, tuple[tuple[str, ...], str]] = {
    ("servers", "*", "transport"): (("http",), "use stdio"),
    ("servers", "*", "rollout", "strategy"): (("canary", "rolling"), "use blue-green"),
}
M = TypeVar("M", bound=BaseModel)
_ORIGINS = ("source", "package", "use", "endpoint")


def load(text: bytes, file: str = "central.yml") -> Manifest:
    """Read and check `text`. Raises `ManifestError` with all problems at once, in the order of the file."""
    document = read(text, file, _verbatim)
    _refuse_later(document)
    _check_servers(document)
    manifest = validate(Manifest, document)
    if manifest is None or document.problems:
        raise ManifestError(document.problems)
    manifest._document = document
    return manifest


def _verbatim(path: Path) -> bool:
    """Environment and argv: `1.10`, `3306` and `yes` reach the server as they are written."""
    return len(path) == 4 and path[2] in ("env", "run")


def validate(model: type[M], document: Document) -> M | None:
    """`document.data` as a `model`, or None with what is wrong added to `document.problems`."""
    try:
        return model.model_validate(document.data)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            _report(model, document, error)
        return None


def _refuse_later(document: Document) -> None:
    """Take keys out whose meaning comes with a later version, so that each is one clear problem."""
    for pattern, hint in _LATER_KEYS.items():
        for path, holder in _find(document.data, pattern):
            document.report(path, LATER, hint, key=True)
            del holder[path[-1]]
    for pattern, (words, hint) in _LATER_VALUES.items():
        for path, holder in _find(document.data, pattern):
            if holder[path[-1]] in words:
                document.report(path, f"{holder[path[-1]]} is {LATER}", hint)
                del holder[path[-1]]


def _find(data: Any, pattern: Path, path: Path = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Places that match `pattern` (`*` is any key), each with the mapping that holds its last key."""
    if not isinstance(data, dict):
        return []
    first, rest = pattern[0], pattern[1:]
    keys = list(data) if first == "*" else [first] * (first in data)
    if not rest:
        return [((*path, key), data) for key in keys]
    return [found for key in keys for found in _find(data[key], rest, (*path, key))]


def _check_servers(document: Document) -> None:
    """Rules that join several keys of a server."""
    servers = document.data.get("servers")
    if not isinstance(servers, dict):
        return
    names: dict[str, str] = {}
    for key, spec in servers.items():
        if not isinstance(spec, dict):
            continue
        check_server(document, ("servers", key), spec)
        renamed = spec.get("as")
        name = renamed if isinstance(renamed, str) else key
        if name in names:
            document.report(
                ("servers", key, "as"), f"the name {name!r} is taken by servers.{names[name]}", "choose another"
            )
        names[name] = key


def check_server(document: Document, path: Path, spec: dict[str, Any]) -> None:
    for key in [key for key, value in spec.items() if value is None]:
        document.report((*path, key), "is empty", "give it a value or remove it", key=True)
        del spec[key]

    unknown = [key for key in spec if key not in _known(Manifest, path)]

    def has(key: str) -> bool:
        """Is it there, maybe misspelt? The misspelling is a problem of its own."""
        return (*path, key) in document.keys or bool(difflib.get_close_matches(key, unknown, 1, 0.6))

    origins = [key for key in _ORIGINS if has(key)]
    use = origins[:1] == ["use"]
    if not origins:
        document.report(path, "does not say where it comes from", "add one of source, package, use", key=True)
    for extra in [key for key in origins[1:] if key != "endpoint"]:  # which is refused already
        document.report((*path, extra), f"stands beside {origins[0]}", "keep one of source, package, use", key=True)
    if has("as") and not use:
        document.report(
            (*path, "as"), "renames a server taken with `use:`", "name the server by its key instead", key=True
        )
    if not has("category") and not use:
        document.report((*path, "category"), "is missing", f"add one of {', '.join(rules.CATEGORIES)}", key=True)
    if not has("run") and "source" in origins:
        document.report(
            (*path, "run"), "is missing", "say how to start it, e.g. run: [python, -m, my_server]", key=True
        )
    if has("pins") and not str(spec.get("package", "pypi:")).startswith("pypi:"):
        document.report((*path, "pins"), "works for pypi packages only", "remove it", key=True)
    if has("replicas") and not use and spec.get("sessions") != "shared":
        document.report(
            (*path, "replicas"), "counts processes that are shared", "add sessions: shared, or remove it", key=True
        )


def _report(model: type[BaseModel], document: Document, error: Any) -> None:
    path = tuple(f"[{part}]" if isinstance(part, int) else str(part) for part in error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        hint = _did_you_mean(path[-1], _known(model, path[:-1]))
        document.report(path, "unknown key", hint, key=True)
        return
    is_key = path[-1:] == ("[key]",)
    if is_key:
        path = path[:-1]
    what, hint = _words(error, _raw(document.data, path))
    document.report(path, what, hint, key=is_key or kind == "missing")


def _words(error: Any, value: Any) -> tuple[str, str]:
    """Pydantic's finding in the words of this project."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return "is missing", ""
    if value is None:
        return "is empty", "give it a value or remove it"
    if kind == "value_error":
        return str(context["error"]), ""
    if kind == "literal_error":
        allowed = context["expected"].replace("'", "")
        words = [word.strip() for word in allowed.replace(" or ", ", ").split(",")]
        hint = _did_you_mean(value, words) if isinstance(value, str) and len(words) > 1 else ""
        return f"{_short(value)} is not one of {allowed}" if len(
            words
        ) > 1 else f"{_short(value)} is not {allowed}", hint
    if kind in ("tuple_type", "list_type"):
        return "must be a list", f"e.g. [{', '.join(value.split())}]" if isinstance(value, str) else ""
    if kind in ("dict_type", "model_type", "model_attributes_type"):
        return "must be a mapping of keys", ""
    if kind == "string_type":
        return f"must be text, not {_short(value)}", "" if isinstance(value, (list, dict)) else "put it in quotes"
    if kind.startswith("bool_"):
        return f"must be true or false, not {_short(value)}", ""
    if kind.startswith("int_") and kind != "int_from_float":
        return f"must be a whole number, not {_short(value)}", ""
    if kind == "string_too_short":
        return "is empty", "give it a value or remove it"
    if kind == "string_too_long":
        return f"has more than {context['max_length']} characters", ""
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return message.replace("should", "must"), ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _raw(data: Any, path: Path) -> Any:
    for part in path:
        if isinstance(data, list) and part.startswith("["):
            data = data[int(part[1:-1])]
        elif isinstance(data, dict):
            data = data.get(part)
        else:
            return None
    return data


def _known(annotation: Any, path: Path) -> list[str]:
    """The keys that are allowed at `path` below a model."""
    for part in path:
        annotation = _below(annotation, part)
    model = next((part for part in (annotation, *get_args(annotation)) if _is_model(part)), None)
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _below(annotation: Any, key: str) -> Any:
    """What `key` holds in a value of this annotation; None when that says nothing."""
    if _is_model(annotation):
        named = {field.alias or name: field.annotation for name, field in annotation.model_fields.items()}
        return named.get(key)
    if get_origin(annotation) is dict:
        return get_args(annotation)[1]
    return next((found for part in get_args(annotation) if (found := _below(part, key)) is not None), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word.lower().replace("_", "-"), known, 1, 0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"known are {', '.join(known)}" if known else ""
