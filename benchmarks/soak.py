"""A server under load for minutes, with the flight recorder on: `python -m benchmarks.soak`; see benchmarks/README.md.

The server runs under `asynctrace run`, with its events bounded in memory and on disk; a client in a process of its own
keeps it busy. Once a second the server's memory is read, and what it and asynctrace hold is asked of it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SERVER = """
import asyncio, gc, sys
from aiohttp import web
from asynctrace import stream

async def look_up(number):
    await asyncio.sleep(0.001 * (number % 3))
    return number

async def home(request):
    number = int(request.query["number"])
    parts = await asyncio.gather(*(look_up(number + each) for each in range(3)))
    return web.json_response(parts)

async def held(request):
    gc.collect()
    recorder, table = stream.current.recorder, stream.current.table
    history = recorder.history
    return web.json_response({
        "tasks": len(asyncio.all_tasks()),
        "tasks_known": len(table._entries),
        "names": len(recorder.names),
        "table_entries": len(recorder.tables),
        "events": len(history),
        "dropped": history.first,
        "bytes": history.used_bytes,
    })

app = web.Application()
app.router.add_get("/", home)
app.router.add_get("/held", held)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
"""

WARM_UP_S = 60.0
ALLOWED = 0.05  # of growth


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description="Keep a recorded server busy.")
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: %(default)s)")
    parser.add_argument("--at-once", type=int, default=20, help="requests at once (default: %(default)s)")
    parser.add_argument("--limit", default="32M", help="what the events may take in memory (default: %(default)s)")
    parser.add_argument("--limit-disk", default="32M", help="and on disk (default: %(default)s)")
    parser.add_argument("--port", type=int, default=18973)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "server.py").write_text(SERVER)
        command = [sys.executable, "-m", "asynctrace", "run", "-q", "-o", "out.pftrace", "--snapshot-signal", "USR2"]
        command += ["--limit", options.limit, "--limit-disk", options.limit_disk, "server.py", str(options.port)]
        path = os.pathsep.join(filter(None, (os.getcwd(), os.environ.get("PYTHONPATH", ""))))
        server = subprocess.Popen(command, cwd=folder, env={**os.environ, "PYTHONPATH": path})
        try:
            samples, requests, disk = asyncio.run(_soak(server.pid, options, Path(folder)))
        finally:
            server.terminate()
            server.wait(60)
    return _report(samples, requests, disk, options)


async def _soak(pid: int, options: Any, folder: Path) -> tuple[list[dict[str, float]], int, int]:
    import aiohttp

    base = f"http://127.0.0.1:{options.port}"
    requests = 0
    is_over = False

    async def client(number: int) -> None:
        nonlocal requests
        while not is_over:
            async with session.get(f"{base}/?number={number}") as response:
                await response.read()
            requests += 1
            number += 1

    async with aiohttp.ClientSession() as session:
        await _wait_until_up(session, f"{base}/held")
        clients = [asyncio.create_task(client(number)) for number in range(options.at_once)]
        samples: list[dict[str, float]] = []
        most_on_disk = 0
        begin = time.monotonic()
        while time.monotonic() - begin < options.minutes * 60:
            await asyncio.sleep(1)
            async with session.get(f"{base}/held") as response:
                sample = await response.json()
            sample["s"] = time.monotonic() - begin
            sample["rss"] = _resident_bytes(pid)
            samples.append(sample)
            with contextlib.suppress(FileNotFoundError):  # one that was just replaced
                most_on_disk = max(most_on_disk, sum(path.stat().st_size for path in folder.iterdir()))
            if sys.stderr.isatty():
                progress = f"\r{sample['s']:.0f} s  {sample['rss'] / 2**20:.1f} MiB  {requests:,} requests"
                print(progress, end="", file=sys.stderr, flush=True)
        is_over = True
        await asyncio.gather(*clients)
        async with session.get(f"{base}/held") as response:
            samples.append({**await response.json(), "s": -1, "rss": _resident_bytes(pid)})
    return samples, requests, most_on_disk


async def _wait_until_up(session: Any, url: str) -> None:
    import aiohttp

    for _ in range(300):
        try:
            async with session.get(url):
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)
    raise SystemExit("the server does not answer")


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def _report(samples: list[dict[str, float]], requests: int, disk: int, options: Any) -> int:
    *during, last = samples
    steady = [sample["rss"] for sample in during if sample["s"] > min(WARM_UP_S, options.minutes * 30)]
    # Means of tenths of the time: a single sample has the peak of one garbage collection in it.
    tenth = max(1, len(steady) // 10)
    means = [statistics.mean(steady[begin : begin + tenth]) for begin in range(0, len(steady) - tenth + 1, tenth)]
    growth = max(means) / means[0] - 1
    figures = {
        "minutes": options.minutes,
        "requests": requests,
        "requests_per_s": round(requests / during[-1]["s"]),
        "events": last["events"],
        "events_per_s": round(last["events"] / during[-1]["s"]),
        "dropped": last["dropped"],
        "rss_mib_after_warm_up": round(means[0] / 2**20, 1),
        "rss_mib_at_the_end": round(means[-1] / 2**20, 1),
        "rss_growth_at_most": f"{growth:+.1%}",
        "events_mib_at_most": round(max(sample["bytes"] for sample in during) / 2**20, 1),
        "disk_mib_at_most": round(disk / 2**20, 1),
        "tasks_left": last["tasks"],
        "tasks_known_left": last["tasks_known"],
        "names_left": last["names"],
        "table_entries_left": last["table_entries"],
    }
    print(json.dumps(figures, indent=2))
    is_flat = growth <= ALLOWED
    # aiohttp's server keeps a task for each connection.
    is_clean = last["tasks"] <= max(sample["tasks"] for sample in during[:30]) and last["tasks_known"] == last["tasks"]
    print(f"memory flat within {ALLOWED:.0%}: {'yes' if is_flat else 'NO'}")
    print(f"no task leaked: {'yes' if is_clean else 'NO'}")
    return 0 if is_flat and is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
