"""One measured figure, the table of all, and `bench/results.json`."""

import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table


@dataclass
class Result:
    """A figure of this run; `peer` holds figures of other programs measured in the same run, for a ratio."""

    name: str
    value: float
    unit: str
    budget: str = ""
    cpu: str = ""
    note: str = ""
    load: float = -1.0

    def __post_init__(self) -> None:
        if self.load < 0:
            self.load = round(os.getloadavg()[0], 2)


def pss_kib(pids: list[int]) -> int:
    """Proportional memory of `pids` in KiB (Linux smaps_rollup): shared pages are counted once over all."""
    total = 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
    return total


def rss_kib(pid: int) -> int:
    """Resident memory of one process in KiB."""
    text = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:"))


def show(results: list[Result]) -> None:
    table = Table(title="central-mcp bench", caption=f"{os.cpu_count()} cores, Python {platform.python_version()}")
    for column in ("what", "value", "unit", "budget", "CPU", "load", "note"):
        table.add_column(column, justify="right" if column in ("value", "load") else "left", overflow="fold")
    for r in results:
        table.add_row(
            r.name, f"{r.value:,.2f}".rstrip("0").rstrip("."), r.unit, r.budget, r.cpu, f"{r.load:.2f}", r.note
        )
    Console(width=160).print(table)


def write(results: list[Result], path: Path) -> None:
    """`name -> value, unit, budget, CPU, load average, note`, with the machine and the time of the run."""
    data = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        "results": {r.name: {k: v for k, v in asdict(r).items() if k != "name"} for r in results},
    }
    path.write_text(json.dumps(data, indent=1) + "\n")
