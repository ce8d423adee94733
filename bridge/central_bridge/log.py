"""The bridge's log: lines on stderr, or in a file. stdout belongs to the protocol. Holds no keys: callers give none."""

import sys
import time
from typing import TextIO

_ORDER = {"debug": 0, "info": 1, "warning": 2, "error": 3}


class Log:
    """`log("warning", text)`. What cannot be written is dropped: a log must not end the bridge."""

    def __init__(self, level: str = "warning", file: str | None = None) -> None:
        self._least = _ORDER[level]
        self._file: TextIO | None = None
        if file:
            try:
                self._file = open(file, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (open as long as we run)
            except OSError as error:
                self("warning", f"CENTRAL_LOG: {file} cannot be written ({error.strerror}); logging to stderr")

    def __call__(self, level: str, text: str) -> None:
        if _ORDER[level] < self._least:
            return
        try:
            if self._file is not None:
                self._file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {level} {text}\n")
            elif sys.stderr is not None:
                line = f"central-mcp-bridge: {level}: {text}\n"
                sys.stderr.write(line.encode("ascii", "backslashreplace").decode("ascii"))
                sys.stderr.flush()
        except (OSError, ValueError):
            pass
