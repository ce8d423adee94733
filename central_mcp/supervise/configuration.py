"""The include files on disk: validated whole before anything is replaced, one file a category, whole or not at all.

The engine (and the provisioning, for the core programs) writes through this; supervisord follows by `Supervisor.apply`.
"""

import configparser
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ..home import MAX_SOCKET_PATH, Home
from .errors import ConfigError
from .program import Program, render_main, render_program, render_programs, split_programs

MAIN = "supervisord.conf"
INCLUDED = "programs"
MODE = 0o600
_STAGING = ".staged-"

Files = dict[str, dict[str, str]]
"""Category -> program name -> the program's section."""


def validate(conf: Path) -> None:
    """Read `conf` and its includes as supervisord would. Raises `ConfigError` naming file, section and reason.

    supervisord reads all or nothing, so one bad section would block every later change; and it merges two sections of
    one name silently, so that is looked for here.
    """
    seen: dict[str, Path] = {}
    for file in (conf, *sorted((conf.parent / INCLUDED).glob("*.conf"))):
        for section in _sections(file):
            if section in seen:
                raise ConfigError(file, section, f"is also in {seen[section]}")
            seen[section] = file
    read_programs(conf)


def read_programs(conf: Path) -> list[Any]:
    """supervisord's own group objects for `conf`. Raises `ConfigError`."""
    from supervisor.options import ServerOptions  # type: ignore[import-untyped]  # 0.1 s, only who validates needs it

    options = ServerOptions()
    options.configfile = str(conf)
    try:
        options.process_config(do_usage=False)
    except (ValueError, configparser.Error) as exc:
        raise _named(conf, str(exc)) from exc
    for server in options.configroot.supervisord.server_configs:
        if len(os.fsencode(server.get("file", ""))) > MAX_SOCKET_PATH:
            raise ConfigError(conf, "unix_http_server", f"{server['file']} is longer than a socket's path may be")
    groups: list[Any] = options.process_group_configs
    return groups


def _sections(file: Path) -> list[str]:
    parser = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=True)
    try:
        parser.read_string(file.read_text(), str(file))
    except (configparser.Error, UnicodeDecodeError) as exc:
        raise ConfigError(file, getattr(exc, "section", ""), " ".join(str(exc).split())) from exc
    except OSError as exc:
        raise ConfigError(file, "", exc.strerror or str(exc)) from exc
    return parser.sections()


def _named(conf: Path, text: str) -> ConfigError:
    """supervisord's own words, taken apart: `... in section 'program:x' (file: 'f')`."""
    found = re.search(r" in section '([^']*)' \(file: '([^']*)'\)", text)
    if found is None:
        return ConfigError(conf, "", text)
    return ConfigError(found[2], found[1], text[: found.start()])


class Configuration:
    """`put`, `remove` and `replace` raise `ConfigError` or `OSError` (disk full, say) and then have changed nothing."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._folder = home.etc / INCLUDED

    def render(self, programs: Iterable[Program]) -> str:
        """What an include file of exactly `programs` holds."""
        return render_programs(programs, self._mark)

    def names(self) -> dict[str, str]:
        """Program name -> its category, as configured now."""
        return {name: category for category, sections in self._read().items() for name in sections}

    def put(self, programs: Iterable[Program]) -> bool:
        """Add `programs`, or replace those of the same names; the others stay byte for byte. True if a file changed."""
        new = list(programs)

        def change(files: Files) -> None:
            for program in new:
                for sections in files.values():
                    sections.pop(program.name, None)
                files.setdefault(program.category, {})[program.name] = render_program(program, self._mark)

        return self._change(change)

    def remove(self, names: Iterable[str]) -> bool:
        """Take programs out; unknown names are fine. True if a file changed."""
        gone = set(names)

        def change(files: Files) -> None:
            for sections in files.values():
                for name in gone & sections.keys():
                    del sections[name]

        return self._change(change)

    def replace(self, programs: Iterable[Program], *, keep: Iterable[str] = ()) -> bool:
        """Have exactly `programs`, beside the categories in `keep`. True if a file changed."""
        new, kept = list(programs), set(keep)

        def change(files: Files) -> None:
            for category in files.keys() - kept:
                files[category] = {}
            for program in new:
                files.setdefault(program.category, {})[program.name] = render_program(program, self._mark)

        return self._change(change)

    @property
    def _mark(self) -> str:
        return str(self._home.root)

    def _read(self) -> Files:
        return {file.stem: split_programs(file.read_text()) for file in sorted(self._folder.glob("*.conf"))}

    def _change(self, change: Callable[[Files], None]) -> bool:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._home.etc / "programs.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the engine and a playbook may write at the same time; for milliseconds
            for stale in self._home.etc.glob(f"{_STAGING}*"):  # of one who was killed; a living one holds the lock
                shutil.rmtree(stale, ignore_errors=True)
            files = self._read()
            before = {file.stem: file.read_text() for file in self._folder.glob("*.conf")}
            change(files)
            after = {category: _text(sections) for category, sections in files.items()}
            changed = {category for category in after if after[category] != before.get(category, "")}
            if changed:
                self._install(after, changed)
            return bool(changed)

    def _install(self, texts: Mapping[str, str], changed: set[str]) -> None:
        """Write the whole tree beside the old one, validate it there, then rename file by file."""
        staged = Path(tempfile.mkdtemp(prefix=_STAGING, dir=self._home.etc))
        try:
            (staged / INCLUDED).mkdir()
            main = self._home.etc / MAIN
            _write(staged / MAIN, main.read_text() if main.exists() else render_main(self._home))
            for category, text in texts.items():
                if text:
                    _write(staged / INCLUDED / f"{category}.conf", text)
            validate(staged / MAIN)
            for category in sorted(changed, key=lambda c: bool(texts[c])):  # what goes first, so a move is no duplicate
                target = self._folder / f"{category}.conf"
                if texts[category]:
                    (staged / INCLUDED / target.name).replace(target)
                else:
                    target.unlink(missing_ok=True)
            _sync(self._folder)
        except ConfigError as exc:
            real = str(exc.file).replace(str(staged), str(self._home.etc))
            raise ConfigError(real, exc.section, exc.reason) from exc
        finally:
            shutil.rmtree(staged, ignore_errors=True)


def _text(sections: Mapping[str, str]) -> str:
    return "".join(sections[name] for name in sorted(sections))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, MODE)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
