"""Calls over the full path: WebSocket, coordinator, router, deployed echo server. And the memory of idle clients."""

from dataclasses import replace

import uvloop
from loadgen import Load, Report, Tally, connect, run
from results import Result, pss_kib

OPEN_RATE = 10_000.0
"""calls/s that the budget asks for; where the machine cannot, the answered rate and its latencies tell."""


def cpu_note(report: Report) -> str:
    return ", ".join(f"{name} {us:g}" for name, us in report.cpu_us_per_call.items()) + " us/call"


def of_run(name: str, report: Report, budget: str) -> list[Result]:
    """The figures of one load run under `name`."""
    note = f"{report.errors} errors {report.error_texts or ''}".strip()
    cpu = cpu_note(report)
    load = report.load_average
    return [
        Result(f"{name}: calls", report.per_s, "calls/s", budget, cpu, note, load),
        Result(f"{name}: p50", report.p50_ms, "ms", load=load),
        Result(f"{name}: p95", report.p95_ms, "ms", "20 ms" if "open loop" in name else "", load=load),
        Result(f"{name}: p99", report.p99_ms, "ms", load=load),
    ]


def measure(load: Load, connections: int, seconds: float, rate: float = OPEN_RATE) -> list[Result]:
    """`load` names url, key, tool and the pids whose CPU counts; the scenarios fill in the rest."""
    results = [uvloop.run(idle(load, connections))]  # first: memory that a crowd has once taken is not given back
    steady = replace(load, connections=64, seconds=seconds, rate=1000.0)
    results += of_run("64 clients, open loop 1,000/s", uvloop.run(run(steady)), "1,000/s")
    closed = replace(load, connections=64, seconds=seconds, depth=4)
    report = uvloop.run(run(closed))
    results += of_run("64 clients, closed loop", report, "")
    ours = sum(us for name, us in report.cpu_us_per_call.items() if name in ("coordinator", "router"))
    results.append(
        Result("CPU per call, coordinator + router", round(ours, 1), "us", "90 us", load=report.load_average)
    )
    crowd = replace(load, connections=connections, seconds=seconds, rate=rate)
    results += of_run(f"{connections} clients, open loop {rate:,.0f}/s", uvloop.run(run(crowd)), ">= 10,000/s")
    return results


async def idle(load: Load, connections: int) -> Result:
    """Memory that the coordinators grow by for each idle client connection."""
    pids = load.watch_pids["coordinator"]
    before = pss_kib(pids)
    clients = await connect(replace(load, connections=connections), Tally())
    grown = pss_kib(pids) - before
    for client in clients:
        if client.transport is not None:
            client.transport.abort()
    note = f"{connections} connections"
    return Result("memory per idle client connection", round(grown / connections, 1), "KiB PSS", "20 KB", note=note)
