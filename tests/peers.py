"""Real peers of other versions than ours: environments made once into `.tools/`, kept between runs."""

import fcntl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ROOT / "tests" / "servers"
TOOLS = ROOT / ".tools"
MCP1 = "mcp[ws]==1.30.0"


def sdk1_python() -> Path:
    """The interpreter of an environment with the SDK for Python v1, which knows the legacy era only."""
    folder = TOOLS / "mcp1"
    python = folder / "bin" / "python"
    TOOLS.mkdir(exist_ok=True)
    with (TOOLS / "mcp1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test runs may share the checkout
        complete = folder / ".complete"
        if not complete.exists() or complete.read_text() != MCP1:
            uv = Path(sys.executable).parent / "uv"
            subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, folder], check=True)
            subprocess.run([uv, "pip", "install", "-q", "--python", python, MCP1], check=True)
            complete.write_text(MCP1)
    return python
