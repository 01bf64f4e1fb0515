"""``python -m tests.faults --smoke | --campaign | --soak [--only NAME,…] [--seed N] [--times N] [--list]``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from tests.faults.oracle import shown
from tests.faults.play import Result, not_played, play, quantile
from tests.faults.server import Server
from tests.faults.stage import SIZES, Fault, Size, load_faults


def main() -> int:
    """The exit status: 1 if an invariant was violated or a fault not evidenced."""
    faults = load_faults()
    arguments = _parser().parse_args()
    if arguments.list:
        for fault in faults.values():
            sizes = " ".join(f"{size} {fault.sizes[size]}" for size in SIZES)
            print(f"{fault.name:<16} row {fault.row:<3} {sizes:<40} {fault.how}")
        return 0
    names = arguments.only.split(",") if arguments.only else list(faults)
    if unknown := [name for name in names if name not in faults]:
        print(f"no such fault: {', '.join(unknown)}; there are {', '.join(faults)}", file=sys.stderr)
        return 2
    size: Size = arguments.size
    logs = Path(tempfile.mkdtemp(prefix="durable-faults-logs-"))
    logging.basicConfig(filename=logs / "harness.log", level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    started = time.monotonic()
    print(f"seed {arguments.seed}, logs in {logs}")
    print(f"{'fault':<18}{'injected':>9}{'runs':>8}{'violations':>12}{'p50':>8}{'p99':>8}{'seconds':>9}")
    chosen = [faults[name] for name in names]
    if arguments.times is not None:
        chosen = [msgspec.structs.replace(fault, sizes=dict.fromkeys(SIZES, arguments.times)) for fault in chosen]
    results = _play_all(chosen, size, arguments.seed, logs)
    failed = [result.name for result in results if result.violations]
    not_run = [result.name for result in results if result.not_run is not None]
    print(
        f"{len(results)} faults in {time.monotonic() - started:.0f} s; violated: {', '.join(failed) or 'none'};"
        f" not run: {', '.join(not_run) or 'none'}"
    )
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    sizes = parser.add_mutually_exclusive_group()
    for size in SIZES:
        sizes.add_argument(f"--{size}", dest="size", action="store_const", const=size)
    parser.set_defaults(size="smoke")
    parser.add_argument("--only", metavar="NAME,…", help="these faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--times", type=int, metavar="N", help="inject each so often instead")
    parser.add_argument("--list", action="store_true", help="show the faults and end")
    return parser


def _play_all(faults: list[Fault], size: Size, seed: int, logs: Path) -> list[Result]:
    results: list[Result] = []
    with Server() as common:
        for fault in faults:
            with ExitStack() as own:
                if (why := fault.lacks()) is not None:
                    results.append(not_played(fault, size, seed, why))
                else:
                    place = own.enter_context(fault.place()) if fault.place else None
                    is_own = place is not None or fault.server_settings is not None
                    server = own.enter_context(Server(place, fault.server_settings)) if is_own else common
                    results.append(asyncio.run(play(fault, size, seed, server, logs)))
            _print(results[-1])
    return results


def _print(result: Result) -> None:
    if result.not_run is not None:
        print(f"{result.name:<18}not run: {result.not_run}", flush=True)
        return
    half, most = (quantile(result.recoveries, share) for share in (0.5, 0.99))
    print(
        f"{result.name:<18}{result.injected:>9}{result.runs:>8}{len(result.violations):>12}"
        f"{'' if half is None else f'{half:.2f}':>8}{'' if most is None else f'{most:.2f}':>8}{result.seconds:>9}",
        flush=True,
    )
    for line in (*shown(result.violations), *result.notes, *(f"log: {error}" for error in result.errors)):
        print(f"    {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
