"""The end of a run's chapter, and the beginning of the next one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from durable.core.replay.endings import NextChapter
from durable.store.columns import column
from durable.store.statement import Query, RunId, Statement, run_ids

_BEGIN_CHAPTERS = Query("chapters/begin_chapters", RunId)


def begin_chapters(runs: Mapping[str, Any], endings: Sequence[NextChapter]) -> Statement[list[str]]:
    """Has runs that this worker holds, and whose parameters are given, continue as new. Everything else that belongs to
    the flush must be written before."""
    params = {
        **runs,
        "inputs": column([ending.input for ending in endings]),
        "versions": column([ending.version for ending in endings]),
        "timeouts": column([ending.timeout for ending in endings]),
    }
    return _BEGIN_CHAPTERS.statement(params, run_ids)
