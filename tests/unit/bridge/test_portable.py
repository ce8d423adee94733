"""The bridge runs on Linux, macOS and Windows: what only Unix has may not be imported or used unguarded."""

import ast
import sys
from pathlib import Path

import pytest

import central_bridge

FILES = sorted(Path(central_bridge.__file__).parent.glob("*.py"))
UNIX_MODULES = {
    "crypt", "curses", "fcntl", "grp", "nis", "pty", "pwd", "readline", "resource", "spwd", "syslog", "termios", "tty",
    "uvloop",
}  # fmt: skip
UNIX_NAMES = {
    "AF_UNIX", "SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SO_REUSEPORT",
    "add_reader", "add_signal_handler", "add_writer", "chown", "connect_read_pipe", "connect_write_pipe", "fork",
    "fchmod", "getegid", "geteuid", "getgid", "getpgid", "getuid", "killpg", "mkfifo", "open_unix_connection",
    "pthread_sigmask", "set_blocking", "setgid", "setpgrp", "setsid", "setuid", "sigwait", "start_unix_server", "uname",
    "wait3", "wait4",
}  # fmt: skip
ALLOWED = {"websockets", "central_bridge", *sys.stdlib_module_names}


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


def names(tree: ast.AST) -> set[str]:
    """Attributes that are used, but for those in a `try` that knows NotImplementedError (asyncio on Windows)."""
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and "NotImplementedError" in {ast.unparse(h.type) for h in node.handlers if h.type}
        for statement in node.body
        for inner in ast.walk(statement)
    }
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and id(node) not in guarded}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_nothing_that_only_unix_has(file: Path):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assert imports(tree) & UNIX_MODULES == set()
    assert names(tree) & UNIX_NAMES == set()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_only_the_standard_library_and_websockets(file: Path):
    assert imports(ast.parse(file.read_text(encoding="utf-8"))) <= ALLOWED - UNIX_MODULES


def test_the_check_sees_what_it_looks_for():
    tree = ast.parse("import fcntl\nimport os\nos.fork()\nloop.add_signal_handler(1, f)")
    assert imports(tree) & UNIX_MODULES == {"fcntl"}
    assert names(tree) & UNIX_NAMES == {"fork", "add_signal_handler"}
    guarded = ast.parse("try:\n  loop.add_signal_handler(1, f)\nexcept NotImplementedError:\n  os.fork()")
    assert names(guarded) & UNIX_NAMES == {"fork"}
