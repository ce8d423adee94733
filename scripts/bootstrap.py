#!/usr/bin/env python3
"""Makes .venv from the locks in requirements/: every package by its hash, plus this checkout's two packages, editable.

Run by `make` with the system's python3, standard library only. Changes nothing when something is missing. A second run
compares one stamp and returns. `--dev` adds what the tests need; once there, it stays.
"""

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "bootstrap.json"
LOCKS = ROOT / "requirements"
PYTHON_MIN = (3, 11)
GIT_MIN = (2, 29)  # proc-receive hooks came with it


class BootstrapError(Exception):
    """Why .venv cannot be made, and what to do next."""

    def __init__(self, what, next_step):
        super().__init__(what)
        self.next_step = next_step


def reexec_newer_python():
    """Debian's `python3` may be older than an installed python3.12: take the newest that will do."""
    if sys.version_info >= PYTHON_MIN:
        return
    for minor in range(14, 10, -1):
        found = shutil.which("python3.%d" % minor)  # noqa: UP031 (an old python3 runs this line)
        if found:
            os.execv(found, [found, *sys.argv])
    running = ".".join(str(part) for part in sys.version_info[:3])
    raise BootstrapError(
        "python3 is %s, central-mcp needs 3.11 or newer" % running,  # noqa: UP031
        "install python3.11 or newer; or name one: make PYTHON=/path/to/python3 ...",
    )


def missing():
    """(what, next step) of each thing that this machine lacks. Looks only."""
    found = []
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        found.append(("python3-venv is missing (no module ensurepip)", "sudo apt install python3-venv"))
    found += [
        (f"{program} is missing", f"sudo apt install {package}")
        for program, package in (("git", "git"), ("make", "make"), ("setpriv", "util-linux"))
        if shutil.which(program) is None
    ]
    if shutil.which("git"):
        text = subprocess.run(["git", "--version"], capture_output=True, text=True, check=False).stdout
        version = re.search(r"(\d+)\.(\d+)", text)
        if version is None or tuple(map(int, version.groups())) < GIT_MIN:
            found.append((f"{text.strip() or 'git'} is too old, 2.29 is the oldest that will do", "upgrade git"))
    return found


def plan(dev):
    """What .venv must be made of: the locks by name, and one digest over all that decides its content."""
    sys.path.insert(0, str(ROOT))
    from central_mcp.toolchain import system_node

    names = ["vm", "bridge", *(["dev"] if dev else []), *([] if system_node() else ["node"])]
    digest = hashlib.sha256(f"{ROOT}\n{sys.version}\n{names}\n".encode())
    for path in [*(LOCKS / f"{name}.txt" for name in names), ROOT / "pyproject.toml", ROOT / "bridge/pyproject.toml"]:
        digest.update(path.read_bytes())
    return names, digest.hexdigest()


def read_stamp():
    try:
        return json.loads(STAMP.read_bytes())
    except (OSError, ValueError):
        return {}


def run(argv, what):
    """Run one installer; on a terminal it shows its own progress, otherwise its output appears only if it fails."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
    quiet = not sys.stderr.isatty()
    done = subprocess.run(
        argv,
        cwd=ROOT,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
    )
    if done.returncode:
        tail = "\n".join(f"  | {line}" for line in (done.stdout or "").strip().splitlines()[-15:])
        raise BootstrapError(
            f"{what} failed (exit {done.returncode})\n{tail}".rstrip(),
            "is the package index reachable from here? Then run the same command again; it goes on where it stopped",
        )


def make_venv():
    """A .venv with this interpreter and uv in it, unless a sound one is there."""
    ask = [str(VENV / "bin" / "python"), "-c", "import sys; print(sys.prefix, sys.version)"]
    if (VENV / "bin" / "python").exists() and (VENV / "bin" / "uv").exists():
        answer = subprocess.run(ask, capture_output=True, text=True, check=False)
        if answer.returncode == 0 and answer.stdout.strip() == f"{VENV} {sys.version}":
            return
    run([sys.executable, "-m", "venv", "--clear", str(VENV)], "python3 -m venv")
    locked = re.search(r"^uv==(\S+)(?: \\\n +--hash=\S+)+\n", (LOCKS / "vm.txt").read_text(), re.MULTILINE)
    if locked is None:
        raise BootstrapError("requirements/vm.txt does not lock uv", "git checkout requirements/vm.txt")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(locked[0])
        file.flush()
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run([*pip, "--no-deps", "--require-hashes", "-r", file.name], "installing uv")


def install(names):
    """Bring the environment to exactly what the locks say, then our two packages on top."""
    uv = [str(VENV / "bin" / "uv"), "pip"]
    into = ["--python", str(VENV / "bin" / "python")]
    locks = [str(LOCKS / f"{name}.txt") for name in names]
    run([*uv, "sync", *into, "--require-hashes", "--compile-bytecode", *locks], "installing the locked packages")
    ours = ["-e", str(ROOT), "-e", str(ROOT / "bridge")]
    run([*uv, "install", *into, "--no-deps", "--no-build-isolation", *ours], "installing central-mcp itself")
    relative_paths()


def relative_paths():
    """Make the .pth files of our two packages lead to this checkout by a relative path, which is plain ASCII.

    Python 3.11 reads them in the encoding of the locale: with LC_ALL=C it would not start in /home/zoë.
    """
    for file in VENV.glob("lib/python3*/site-packages/_editable_impl_*.pth"):
        target = file.read_text(encoding="utf-8").strip()
        if os.path.isabs(target):
            file.write_text(os.path.relpath(target, file.parent.resolve()) + "\n", encoding="utf-8")


def bootstrap(dev):
    """Make .venv true. Returns False when it already was."""
    names, digest = plan(dev or read_stamp().get("dev", False))
    if read_stamp().get("digest") == digest and (VENV / "bin" / "central").exists():
        return False
    started = time.monotonic()
    print(f"making .venv from requirements/{{{','.join(names)}}}.txt", flush=True)
    make_venv()
    STAMP.unlink(missing_ok=True)
    install(names)
    STAMP.write_text(json.dumps({"digest": digest, "dev": "dev" in names, "locks": names}))
    print(f".venv is ready ({time.monotonic() - started:.1f} s)", flush=True)
    return True


def check_port():
    """Before anything is made, so that a taken port changes nothing at all."""
    sys.path.insert(0, str(ROOT))
    from central_mcp.cli import preflight

    root = Path(os.environ.get("CENTRAL_HOME") or ROOT / ".central").absolute()
    try:
        preflight.check_port(root, preflight.wanted_port(root, dict(os.environ)))
    except preflight.PreflightError as exc:
        raise BootstrapError(str(exc), exc.next_step) from exc


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dev", action="store_true", help="also what the tests and linters need")
    parser.add_argument("--port", action="store_true", help="first look whether the cloud's port can be had")
    arguments = parser.parse_args()
    try:
        reexec_newer_python()
        lacking = missing()
        if lacking:
            raise BootstrapError("; ".join(what for what, _ in lacking), " && ".join(step for _, step in lacking))
        if arguments.port:
            check_port()
        checkout = os.open(ROOT, os.O_RDONLY)
        fcntl.flock(checkout, fcntl.LOCK_EX)  # two `make` at once: the second waits, then finds it done
        bootstrap(arguments.dev)
    except BootstrapError as exc:
        print(f"error: {exc}\nnext:  {exc.next_step}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
