"""A database that takes connections and reads, and refuses to write for a while."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import msgspec
from psycopg.conninfo import make_conninfo

from tests.faults.stage import Stage, fault

_WORKERS = 4
_SECONDS = (3.0, 8.0)
_RESUME_SECONDS = 5.0
_PATIENCE_SECONDS = 30.0
_MOST_A_SECOND = 4.0
"""What one worker may try in vain: its beat, its takeovers and all the rest are tried once a second at most each."""
_MOST_AT_ONCE = 40
"""What may be under way when it begins."""
_MOST_LINES = 6
"""What one worker may log of it in one minute: its beat, its takeovers, and what else there is."""
_WRITABLE = "-c default_transaction_read_only=off"
_RECONNECT = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name LIKE 'worker-%'
"""
_VAIN = re.compile(r"worker-(\d+).* ERROR: +cannot execute .* in a read-only transaction")
_LINE = re.compile(r"^(\S+ \S+?):\d+,\d+ (\d+) \w+ durable.*read-only transaction", re.MULTILINE)


@fault(
    row=31,
    how="the database becomes read-only for 3 to 8 s, as a standby is, and writable again; all sessions of workers are"
    " ended when it begins",
    target="0 lost; at most 4 statements in vain per worker and second, and 6 lines in its log per minute; everything"
    " continues within 5 s",
    sizes={"smoke": 2, "campaign": 15, "soak": 500},
    workers=_WORKERS,
    recovery=_RESUME_SECONDS,
)
async def read_only(stage: Stage) -> None:
    # The harness writes all the time: the application begins runs, and the steps keep their journal.
    options = msgspec.structs.replace(stage.options, direct=make_conninfo(stage.options.direct, options=_WRITABLE))
    await stage.load.lead(stage.options.direct, options=_WRITABLE)
    for member in stage.fleet.alive:
        stage.fleet.spawn(options)
        member.terminate()
        await member.ended(stage.options.graceful_shutdown_timeout + 5)
    stage.fleet.options = options
    stage.fleet.collect()
    await stage.settle()
    ((name,),) = await stage.observer.rows("SELECT current_database()")
    most = 0.0
    for _ in range(stage.size):
        await stage.settle()
        seconds = stage.random.uniform(*_SECONDS)
        read_before = stage.server.log.stat().st_size
        await stage.observer.rows(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        try:
            await stage.observer.rows(_RECONNECT)
            await asyncio.sleep(seconds)
        finally:
            await stage.observer.rows("SET default_transaction_read_only = off")
            await stage.observer.rows(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        writable = time.time()
        vain = _vain(stage, read_before)
        if vain:
            stage.injected()
        for process_id, times in vain.items():
            most = max(most, (times - _MOST_AT_ONCE) / seconds)
            if times > _MOST_AT_ONCE + _MOST_A_SECOND * seconds:
                stage.violated("I10", f"worker {process_id} tried {times} statements in vain within {seconds:.1f} s")
        members = {member.process_id for member in stage.fleet.alive}

        async def goes_on(writable: float = writable, members: set[int] = members) -> bool:
            rows = await stage.observer.rows(
                "SELECT array_agg(process_id) FROM durable.workers WHERE heartbeat_at > to_timestamp(%s)", (writable,)
            )
            ended = await stage.observer.rows(
                "SELECT EXISTS (SELECT FROM transitions WHERE new_status = 'completed'"
                " AND pg_xact_commit_timestamp(xid) > to_timestamp(%s))",
                (writable,),
            )
            return members <= set(rows[0][0] or ()) and bool(ended[0][0])

        if await stage.until(goes_on, _PATIENCE_SECONDS, "every worker goes on when it can write again"):
            stage.recovered(time.time() - writable)
    _check_lines(stage)


def _vain(stage: Stage, start: int) -> dict[int, int]:
    """How many statements of each worker the server has refused since its log was that long."""
    with stage.server.log.open("rb") as log:
        log.seek(start)
        text = log.read().decode(errors="replace")
    times: dict[int, int] = {}
    for match in _VAIN.finditer(text):
        times[int(match[1])] = times.get(int(match[1]), 0) + 1
    return times


def _check_lines(stage: Stage) -> None:
    lines: dict[tuple[str, str], int] = {}
    for match in _LINE.finditer(Path(stage.options.log).read_text(errors="replace")):
        lines[match[1], match[2]] = lines.get((match[1], match[2]), 0) + 1
    stage.noted(f"at most {max(lines.values(), default=0)} lines of one worker in one minute")
    for (minute, process_id), count in lines.items():
        if count > _MOST_LINES:
            stage.violated("I10", f"worker {process_id} logged {count} lines of it in minute {minute}")
