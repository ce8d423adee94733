"""What package clients write becomes one sentence; the texts are theirs, word for word."""

import pytest

from central_mcp.rollout.causes import explain

UV = "error: No solution found when resolving dependencies\n  cause: "
WRITTEN = {
    "no such package": (
        UV + "Because mcp-server-nope was not found in the package registry and you require mcp-server-nope==1.0, "
        "we can conclude that your requirements are unsatisfiable.",
        "package mcp-server-nope==1.0 does not exist",
    ),
    "no such version": (
        UV + "Because there is no version of mcp-server-sqlite==1.0 and you require mcp-server-sqlite==1.0, "
        "we can conclude that your requirements are unsatisfiable.",
        "package mcp-server-sqlite==1.0 does not exist",
    ),
    "no wheel": (
        UV + "Because docopt==0.6.2 has no usable wheels and you require docopt==0.6.2, we can conclude that your "
        "requirements are unsatisfiable.",
        "docopt==0.6.2 has no wheel for this machine",
    ),
    "other Python": (
        UV
        + "Because the current Python version (3.11.7) does not satisfy Python>=3.13 and postgres-mcp==0.1.0 depends "
        "on Python>=3.13, we can conclude that postgres-mcp==0.1.0 cannot be used.",
        "postgres-mcp==0.1.0 needs Python >=3.13, and this machine has 3.11.7",
    ),
    "contradiction": (
        UV + "Because mcp-server-sqlite>=2025.4.25 depends on mcp[cli]>=1.6.0 and you require "
        "mcp-server-sqlite==2025.4.25, we can conclude that you require mcp>=1.6.0.",
        "its dependencies contradict each other: Because mcp-server-sqlite>=2025.4.25 depends on mcp[cli]>=1.6.0",
    ),
    "another file": (
        "error: Failed to download `idna==3.20`\n  cause: Hash mismatch for `idna==3.20`",
        "idna==3.20 is not the file that the lock names",
    ),
    "no hash": (
        "error: In `--require-hashes` mode, all requirements must have a hash, but none were provided for: idna==3.20",
        "its lock has entries without a hash",
    ),
    "full disk": (
        "error: Failed to install: idna-3.20-py3-none-any.whl\n  cause: No space left on device (os error 28)",
        "the disk is full",
    ),
    "npm: no such package": (
        "npm error code E404\nnpm error 404 Not Found - GET https://x/nope\nnpm error 404\n"
        "npm error 404  The requested resource 'nope@1.0.0' could not be found or you do not have",
        "package nope@1.0.0 does not exist",
    ),
    "npm: no such package, older words": (
        "npm error code E404\nnpm error 404  'nope@1.0.0' is not in this registry.",
        "package nope@1.0.0 does not exist",
    ),
    "npm: no such version": (
        "npm error code ETARGET\nnpm error notarget No matching version found for @a/b@1.0.0.\n",
        "package @a/b@1.0.0 does not exist",
    ),
    "npm: no network": (
        "npm error code ENOTFOUND\nnpm error syscall getaddrinfo",
        "the package index cannot be reached",
    ),
    "npm: full disk": (
        "npm error code ENOSPC\nnpm error nospc ENOSPC: no space left on device, write",
        "the disk is full",
    ),
    "npm: lock out of date": (
        "npm error code EUSAGE\nnpm error `npm ci` can only install packages when your package.json and",
        "package.json and package-lock.json do not belong together",
    ),
    "unknown": (
        "something\nerror: the moon is in the way\nmore",
        "uv ended with code 2: error: the moon is in the way",
    ),
    "silent": ("", "uv ended with code 2"),
}


@pytest.mark.parametrize(("text", "cause"), WRITTEN.values(), ids=WRITTEN)
def test_the_cause_is_found_in_what_was_written(text: str, cause: str) -> None:
    found, _hint = explain(text.splitlines(), 2, "uv")
    assert found.startswith(cause)
