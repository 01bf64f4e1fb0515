"""Sessions with the strictest isolation, and with limits that a DBA may have set for all."""

from __future__ import annotations

import asyncio
import re
from collections import Counter

import msgspec
from psycopg.conninfo import make_conninfo

from tests.faults.stage import Stage, fault

_WORKERS = 4
_OPTIONS = {
    "default_transaction_isolation": "serializable",
    "statement_timeout": "200ms",
    "lock_timeout": "150ms",
    "idle_in_transaction_session_timeout": "5s",
}
_KINDS = {
    "serialization failures": "could not serialize access",
    "statement timeouts": "canceling statement due to statement timeout",
    "lock timeouts": "canceling statement due to lock timeout",
    "idle transactions": "terminating connection due to idle-in-transaction timeout",
}
_LINE = re.compile(r"^\S+ \S+ \S+ \[\d+\] (?:worker-(\d+)|load) (?:ERROR|FATAL): +(.*)$", re.MULTILINE)


@fault(
    row=14,
    how="workers and application with " + ", ".join(f"{name}={value}" for name, value in _OPTIONS.items()),
    target="0 lost, 0 duplicate transactional effects, all invariants hold",
    sizes={"smoke": 20, "campaign": 2000, "soak": 50_000},
    workers=1,
)
async def isolated(stage: Stage) -> None:
    settings = " ".join(f"-c {name}={value}" for name, value in _OPTIONS.items())
    conninfo = make_conninfo(stage.options.direct, options=settings)
    stage.fleet.options = msgspec.structs.replace(stage.options, conninfo=conninfo)
    (first,) = stage.fleet.alive
    stage.fleet.keep(1 + _WORKERS)
    await stage.load.lead(conninfo)
    first.terminate()
    await first.ended(stage.options.graceful_shutdown_timeout + 5.0)
    stage.fleet.collect()
    began = stage.server.log.stat().st_size
    await stage.settle()
    met: Counter[str] = Counter()
    while met.total() < stage.size:
        await asyncio.sleep(0.1)
        met = _failures(stage, began)
    stage.injected(met.total())
    stage.noted(", ".join(f"{count} {kind}" for kind, count in met.most_common()) + " in workers")
    if not met["serialization failures"]:
        stage.violated("I13", "no serialization failed")


def _failures(stage: Stage, began: int) -> Counter[str]:
    """What the server told our workers, by kind."""
    with stage.server.log.open("rb") as log:
        log.seek(began)
        text = log.read().decode(errors="replace")
    ours = {str(member.process_id) for member in stage.fleet.members}
    return Counter(
        kind
        for process_id, message in _LINE.findall(text)
        if process_id in ours
        for kind, beginning in _KINDS.items()
        if message.startswith(beginning)
    )
