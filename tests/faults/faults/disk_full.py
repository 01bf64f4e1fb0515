"""A server whose disk is full for a while."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.families import FAMILIES
from tests.faults.stage import Stage, fault

_MEGABYTES = 192
_FULL = "No space left on device"
_RESUME_SECONDS = 10.0
_PATIENCE_SECONDS = 30.0
_LOOK_SECONDS = 0.005


def _lacks_mounts() -> str | None:
    try:
        with _small_disk():
            return None
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no tmpfs can be mounted: {error}"


@contextmanager
def _small_disk() -> Generator[Path]:
    place = Path(tempfile.mkdtemp(prefix="durable-small-"))
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={_MEGABYTES}m,mode=0755", "tmpfs", str(place)],
            check=True,
            capture_output=True,
        )
        try:
            yield place
        finally:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@fault(
    row=10,
    how=f"a server on a tmpfs of {_MEGABYTES} MB, filled until it reports error 53100 or stops, then freed",
    target="0 lost; everything continues within 10 s, without an operator except to restart a server that stopped",
    sizes={"smoke": 1, "campaign": 20, "soak": 200},
    workers=3,
    in_flight=6,
    # The journal is on that disk, too: who gives up after a few tries may not have told it of them.
    families=[family for family in FAMILIES if family.name != "failing"],
    recovery=_RESUME_SECONDS,
    server_settings={
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "min_wal_size": "32MB",
        "max_wal_size": "48MB",
        "shared_buffers": "32MB",
        "autovacuum_naptime": "5s",
    },
    place=_small_disk,
    lacks=_lacks_mounts,
    # A transaction that cannot be written waits, or is rolled back, as slowly as the server takes.
    excuses=frozenset({"I12"}),
)
async def disk_full(stage: Stage) -> None:
    stopped, stuck = 0, list[str]()
    for _ in range(stage.size):
        await asyncio.sleep(stage.random.uniform(0.3, 1.0))
        told = _times_told(stage)
        filler = stage.server.directory / "filler"
        try:
            await _fill(stage, filler, told)
        finally:
            filler.unlink()
        freed = time.time()
        if _times_told(stage) > told:
            stage.injected()
        if not await _answers(stage):  # as a supervisor would see
            if stage.server.has_stopped:
                stopped += 1
            else:  # seen once: not out of its recovery after 79 minutes, with room on the disk
                stuck.append(_processes(stage))
                await stage.server.stop(signal.SIGQUIT)
                freed = time.time()
            await stage.server.start()
        members = {member.process_id for member in stage.fleet.alive}

        async def goes_on(freed: float = freed, members: set[int] = members) -> bool:
            rows = await stage.observer.rows(
                "SELECT array_agg(process_id), (SELECT max(pg_xact_commit_timestamp(xid)) > to_timestamp(%s)"
                " FROM (SELECT xid FROM transitions ORDER BY id DESC LIMIT 1) AS last)"
                " FROM durable.workers WHERE heartbeat_at > to_timestamp(%s)",
                (freed, freed),
            )
            return bool(rows[0][1]) and members <= set(rows[0][0] or ())

        if await stage.until(goes_on, _PATIENCE_SECONDS, "every worker goes on when the disk has room"):
            stage.recovered(time.time() - freed)
    stage.noted(f"the server stopped and was started again {stopped} times")
    for processes in stuck:
        stage.noted(f"the server had room, and did not come up within {_PATIENCE_SECONDS:g} s: {processes}")


async def _answers(stage: Stage) -> bool:
    """Whether the server comes up by itself."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline and not stage.server.has_stopped:
        with suppress(TimeoutError):
            async with asyncio.timeout(_RESUME_SECONDS / 100):
                await stage.observer.rows("SELECT 1")
                return True
    return False


def _processes(stage: Stage) -> str:
    """What the server's processes say they are doing."""
    command = ["ps", "-o", "args=", "--ppid", str(stage.server.process_id)]
    return "; ".join(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines())


async def _fill(stage: Stage, filler: Path, told: int) -> None:
    """Takes all the room there is, and what the server gives back, until somebody has told of it, and a while on."""
    with filler.open("wb", buffering=0) as file:

        def take() -> None:
            for size in (1 << 20, 1 << 12):
                with suppress(OSError):
                    while True:
                        file.write(bytes(size))

        async def has_told() -> bool:
            await asyncio.to_thread(take)
            return _times_told(stage) > told

        await stage.until(has_told, _PATIENCE_SECONDS, "somebody has told of the full disk")
        until = time.monotonic() + stage.random.uniform(0.5, 2.5)
        while time.monotonic() < until:
            await asyncio.to_thread(take)
            await asyncio.sleep(_LOOK_SECONDS)


def _times_told(stage: Stage) -> int:
    """How often workers, or the server, have told of a full disk."""
    logs = [Path(stage.options.log), stage.server.log]
    return sum(log.read_text(errors="replace").count(_FULL) for log in logs if log.exists())
