"""What the demo claims, checked against the tables."""

from __future__ import annotations

import time
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from rich.console import Console
from rich.table import Table

from durable.cli.demo.claims import Claim


class Takeover:
    """Measures the time from the kill until every claim that the dead worker held is being executed by another
    worker."""

    def __init__(self, dead_worker_id: str, look: psycopg.Connection[Any], schema: str) -> None:
        self._killed = time.monotonic()
        self._held = {
            row[0]: row[1]
            for row in _rows(
                look,
                schema,
                "SELECT run_id::text, epoch FROM {schema}.runs WHERE status = 'running' AND worker_id = %s",
                (dead_worker_id,),
            )
        }
        self.held = len(self._held)
        self.first: float | None = None
        self.last: float | None = None

    @property
    def is_over(self) -> bool:
        return not self._held

    def watch(self, look: psycopg.Connection[Any], schema: str) -> None:
        """Looks once. A claim has moved once it was claimed again, which raises its epoch past the takeover's."""
        if self.is_over:
            return
        now_at = _rows(
            look,
            schema,
            "SELECT run_id::text, epoch FROM {schema}.runs WHERE run_id = ANY(%s::uuid[])",
            (list(self._held),),
        )
        elapsed = time.monotonic() - self._killed
        for run_id, epoch in now_at:
            if epoch >= self._held[run_id] + 2:
                del self._held[run_id]
                self.first = self.first or elapsed
                self.last = elapsed


def prove(
    console: Console,
    look: psycopg.Connection[Any],
    schema: str,
    claims: list[Claim],
    takeover: Takeover | None,
    seconds: float,
) -> bool:
    """Prints the findings. Returns whether all of them hold."""

    def number(text: LiteralString) -> int:
        value = _rows(look, schema, text)[0][0]
        return int(value or 0)

    wanted = sum(max(claim.cost, 0) for claim in claims)
    completed = number("SELECT count(*) FROM {schema}.runs WHERE status = 'completed'")
    again = number(
        "SELECT count(*) FROM calls JOIN {schema}.runs AS run ON (run.input->>'report')::int = calls.report "
        "JOIN {schema}.steps AS step ON step.workflow_name_shard = run.workflow_name_shard "
        "AND step.run_id = run.run_id AND step.step_key = calls.step AND calls.called_at > step.completed_at"
    )
    noted = number("SELECT count(DISTINCT (report, step)) FROM calls")
    paid_once = number(
        "SELECT count(*) FROM (SELECT report FROM ledger WHERE kind = 'paid' "
        "GROUP BY report HAVING count(*) = 1) AS once"
    )
    reserved_once = number(
        "SELECT count(*) FROM (SELECT report FROM ledger WHERE kind = 'reserved' "
        "GROUP BY report HAVING count(*) = 1) AS once"
    )
    entries = number("SELECT count(*) FROM ledger")
    paid = number("SELECT sum(amount) FROM ledger WHERE kind = 'paid'")
    retried = number("SELECT coalesce(sum(attempts - 1), 0) FROM {schema}.steps WHERE step_key = 'notify'")
    total = len(claims)
    findings = [
        ("every run completed", f"{completed:,} of {total:,}", completed == total),
        ("no finished step ran again", f"{again} of {noted:,} steps did", again == 0 and noted == 2 * total),
        ("every claim reserved and paid once", f"{paid_once:,} of {total:,}", paid_once == total == reserved_once),
        ("the ledger holds nothing else", f"{entries:,} entries", entries == 2 * total),
        ("the total paid is that of the CSV", f"${paid:,} = ${wanted:,}", paid == wanted),
        _takeover_finding(takeover),
    ]
    table = Table(title="Proof, from the tables")
    for heading in ("claim", "found", ""):
        table.add_column(heading)
    for claim, found, holds in findings:
        table.add_row(claim, found, "[green]holds[/]" if holds else "[bold red]DOES NOT HOLD[/]")
    console.print(table)
    console.print(
        f"{total:,} runs in {seconds:.1f} s: {total / seconds:,.0f} runs/s; notifications retried: {retried:,}"
    )
    return all(holds for _, _, holds in findings)


def _takeover_finding(takeover: Takeover | None) -> tuple[str, str, bool]:
    claim = "a killed worker's claims moved"
    if takeover is None or takeover.held == 0:
        return claim, "the kill hit no running claim", False
    if not takeover.is_over or takeover.last is None or takeover.first is None:
        return claim, f"not all of {takeover.held}", False
    return claim, f"{takeover.held} claims, after {takeover.first:.2f} to {takeover.last:.2f} s", True


def _rows(
    look: psycopg.Connection[Any], schema: str, text: LiteralString, params: tuple[object, ...] | None = None
) -> list[tuple[Any, ...]]:
    return look.execute(sql.SQL(text).format(schema=sql.Identifier(schema)), params).fetchall()
