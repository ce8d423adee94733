"""Log lines of the VM side's programs: JSON, one file a program, rotated by size. A full disk never stops a program.

`configure(home.log / "router.log")` once at start; everything else uses `structlog.get_logger(area)`. Standard error
stays with the supervisor for what comes before that and for crashes.
"""

import os
import sys
from pathlib import Path

import msgspec
import structlog

MAX_BYTES = 10 << 20
KEEP = 3


class LogFile:
    """Appends lines; at `MAX_BYTES` the file becomes `.1`, and so on up to `KEEP`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1
        self._size = 0
        self._open()

    def write(self, text: bytes) -> None:
        try:
            if self._size + len(text) > MAX_BYTES:
                self._rotate()
            os.write(self._file, text + b"\n")
            self._size += len(text) + 1
        except OSError:
            return  # nobody could be told; the next line is tried again

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._file).st_size

    def _rotate(self) -> None:
        """Other processes may write the same file: who finds it rotated already only opens it again."""
        mine = os.fstat(self._file)
        there = os.stat(self._path)
        if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
            for number in range(KEEP - 1, 0, -1):
                older = self._path.with_name(f"{self._path.name}.{number}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number + 1}"))
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        os.close(self._file)
        self._open()


class _Logger:
    """structlog's end of the line: takes rendered bytes."""

    def __init__(self, file: LogFile, area: str) -> None:
        self._file = file
        self.name = area

    def msg(self, message: bytes) -> None:
        self._file.write(message)

    debug = info = warning = error = critical = exception = fatal = log = msg


def configure(path: Path) -> None:
    """Send every line of this process to `path`. If it cannot be opened, to standard error, and say so there."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    try:
        file = LogFile(path)
    except OSError as exc:
        print(f"{path}: {exc.strerror}; logging to standard error instead", file=sys.stderr)
        structlog.configure(
            processors=[*processors, structlog.processors.JSONRenderer()],
            logger_factory=structlog.PrintLoggerFactory(sys.stderr),
            cache_logger_on_first_use=True,
        )
        return

    def factory(*args: object) -> _Logger:
        return _Logger(file, str(args[0]) if args else "")

    structlog.configure(
        processors=[_area, *processors, structlog.processors.JSONRenderer(serializer=_serialize)],
        logger_factory=factory,
        wrapper_class=structlog.make_filtering_bound_logger(20),
        cache_logger_on_first_use=True,
    )


def _area(logger: _Logger, _: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if logger.name:
        event["area"] = logger.name
    return event


def _serialize(event: structlog.typing.EventDict, **_: object) -> bytes:
    return msgspec.json.encode(event, enc_hook=repr)
