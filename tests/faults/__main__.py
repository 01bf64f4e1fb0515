"""``python -m tests.faults --smoke | --campaign | --soak [--only NAME,…] [--seed N] [--times N] [--lanes N] [--publish]
[--list]``.

A whole campaign writes docs/faults.json; of one with ``--only`` or ``--times``, ``--publish`` puts the figures in the
place of those before.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults.lanes import LANES, Order, log_to, play_all
from tests.faults.oracle import shown
from tests.faults.play import Result, quantile
from tests.faults.report import publish
from tests.faults.stage import SIZES, Size, load_faults


def main() -> int:
    """The exit status: 1 if an invariant was violated or a fault not evidenced."""
    faults = load_faults()
    arguments = _parser().parse_args()
    if arguments.list:
        for fault in faults.values():
            sizes = " ".join(f"{size} {fault.sizes[size]}" for size in SIZES)
            print(f"{fault.name:<16} row {fault.row:<3} {sizes:<44} {fault.how}")
        return 0
    names = arguments.only.split(",") if arguments.only else list(faults)
    if unknown := [name for name in names if name not in faults]:
        print(f"no such fault: {', '.join(unknown)}; there are {', '.join(faults)}", file=sys.stderr)
        return 2
    size: Size = arguments.size
    logs = Path(tempfile.mkdtemp(prefix="durable-faults-logs-"))
    log_to(logs)
    started = time.monotonic()
    print(f"seed {arguments.seed}, logs in {logs}")
    print(f"{'fault':<18}{'injected':>9}{'runs':>8}{'violations':>12}{'p50':>8}{'p99':>8}{'seconds':>9}", flush=True)
    order = Order(size, arguments.seed, logs, arguments.times)
    results: list[Result] = []
    for result in play_all([faults[name] for name in names], order, arguments.lanes or LANES[size]):
        results.append(result)
        _print(result)
        is_whole = arguments.times is None and not arguments.only
        if size == "campaign" and (arguments.publish or is_whole):
            publish([result])  # at once: what comes after may be interrupted
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
    parser.add_argument("--lanes", type=int, metavar="N", help="play so many at once instead")
    parser.add_argument("--publish", action="store_true", help="write the figures of some faults, too")
    parser.add_argument("--list", action="store_true", help="show the faults and end")
    return parser


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
