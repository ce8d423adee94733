"""A rollout's events as lines behind git's `remote: `: one for each server and step, a bar, seconds.

Standard library only: the hook uses it. The CLI draws its own.
"""

from typing import Any, Protocol

BAR = 24
MAX_LOG = 20
WORDS = {"build": "built", "start": "started", "gate": "passed the gate"}


class Out(Protocol):
    def write(self, text: str, /) -> int: ...
    def flush(self) -> None: ...


class Teller:
    """Writes to `out`; a pusher that has gone is no reason to stop."""

    def __init__(self, out: Out) -> None:
        self._out = out
        self._progress = (0, 1)

    def tell(self, event: dict[str, Any]) -> None:
        """Print one event. Unknown ones are silent, so that an old hook follows a new engine."""
        do = getattr(self, f"_tell_{event.get('type')}", None)
        if do is not None:
            do(event)

    def line(self, text: str) -> None:
        clean = "".join(c if c.isprintable() else " " for c in text).rstrip()
        if clean:
            try:
                print(clean, file=self._out, flush=True)
            except OSError:
                self._out = _Nowhere()

    def _tell_line(self, event: dict[str, Any]) -> None:
        self.line(event["text"])

    def _tell_plan(self, event: dict[str, Any]) -> None:
        self.line(f"{event['change']:>9}  {event['server']}  ({event['why']})")

    def _tell_progress(self, event: dict[str, Any]) -> None:
        self._progress = (event["done"], max(1, event["total"]))

    def _tell_server(self, event: dict[str, Any]) -> None:
        done, total = self._progress
        filled = round(BAR * min(1.0, done / total))
        bar = "#" * filled + "." * (BAR - filled)
        what = WORDS.get(event["stage"], event["stage"])
        detail = f"  {event['detail']}" if event.get("detail") else ""
        self.line(f"[{bar}]  {event['server']} {what}  {event['seconds']:.1f} s{detail}")

    def _tell_live(self, event: dict[str, Any]) -> None:
        self.line(f"live after {event['seconds']:.1f} s")

    def _tell_done(self, event: dict[str, Any]) -> None:
        if event["outcome"] == "unchanged":
            self.line(f"nothing to deploy: v{event['release']} serves exactly this ({event['seconds']:.1f} s)")
            return
        for server in event["servers"]:
            self.line(_server_line(server))
        self.line(f"v{event['release']} serves commit {event['commit'][:7]} ({event['seconds']:.1f} s)")

    def _tell_failed(self, event: dict[str, Any]) -> None:
        where = ": ".join(part for part in (event["server"], event["stage"]) if part)
        self.line(f"refused: {where}: {event['cause']}")
        for text in event["log"][-MAX_LOG:]:
            self.line(f"    | {text}")
        if event["hint"]:
            self.line(f"next: {event['hint']}")


def _server_line(server: dict[str, Any]) -> str:
    if server["change"] == "removed":
        return f"  {server['name']:<20} removed"
    tools = "" if server["tools"] is None else f"{server['tools']} tool{'' if server['tools'] == 1 else 's'}"
    seconds = f"{server['seconds']:.1f} s" if server["change"] in ("new", "changed") else "unchanged"
    place = f"{server['category']:<16} :{server['port']}"
    return f"  {server['name']:<20} {place}  v{server['release']:<4} {tools:<9} {seconds}"


class _Nowhere:
    """A stderr whose reader has gone."""

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        """Nothing is kept."""
