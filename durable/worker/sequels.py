"""Which run begins because a run of one of this worker's workflows has failed, and with what input."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import msgspec

from durable.core.codec.json_codec import Codec
from durable.core.codec.places import Place, codec_at, place_of_input
from durable.core.errors import DurableError
from durable.core.failures import read_error
from durable.core.replay.failed_run import FailedRun
from durable.core.replay.workflow import OnFailure, Workflow
from durable.core.runs import RunKey
from durable.core.shards import shard_value
from durable.store.ids import sequel_run_id
from durable.store.sequels import EndedRun, Sequel, SequelOf

_logger = logging.getLogger("durable.worker")

_MAX_STORED = 16 * 1024 * 1024
"""Bytes of the input of a run that is not a child; a check in the schema."""


class Sequels:
    """Nothing here raises: a run must be able to end even if what it was given cannot be passed on."""

    def __init__(self, workflows: Iterable[Workflow[Any, Any]], codec: Codec, shard_count: Callable[[], int]) -> None:
        self._workflows = {workflow.name: workflow for workflow in workflows}
        self._codec = codec
        self._shard_count = shard_count

    def knows(self, workflow_name: str) -> bool:
        """Returns whether this worker has that workflow. Otherwise, nobody here knows what follows its runs."""
        return workflow_name in self._workflows

    def after_failure(self, shard: str) -> SequelOf | None:
        """Returns what follows failed runs of that shard value, ``None`` if nothing does."""
        workflow = self._workflows.get(shard.rpartition("_")[0])
        if workflow is None or workflow.on_failure is None:
            return None
        return partial(self._sequel, workflow, workflow.on_failure, shard)

    def after_cancel(self, shard: str) -> SequelOf | None:
        """Returns what follows cancelled runs of that shard value, ``None`` if nothing does."""
        workflow = self._workflows.get(shard.rpartition("_")[0])
        if workflow is None or workflow.on_failure is None or not workflow.on_failure.cancelled:
            return None
        return partial(self._sequel, workflow, workflow.on_failure, shard)

    def after(self, shard: str, ended: EndedRun) -> Sequel | None:
        """Returns what follows that run, ``None`` if nothing does."""
        sequel_of = self.after_failure(shard)
        return None if sequel_of is None else sequel_of(ended)

    def _sequel(
        self, workflow: Workflow[Any, Any], on_failure: OnFailure, shard: str, ended: EndedRun
    ) -> Sequel | None:
        if ended.status != "failed" and not (ended.status == "cancelled" and on_failure.cancelled):
            return None
        run_key, begun = RunKey(shard, ended.run_id), on_failure.workflow
        run_id = sequel_run_id(run_key, ended.cause)
        error = read_error(ended.error or "null")
        failed: FailedRun[Any] = FailedRun(run_key, workflow.name, ended.status, error)
        return Sequel(
            ended=ended.run_id,
            run_key=RunKey(shard_value(begun.name, run_id, self._shard_count()), run_id),
            version=begun.version,
            timeout=begun.timeout,
            input=self._input(workflow, begun, ended, failed, Place("input", run_id)),
            tags=ended.tags,
            headers=ended.headers,
        )

    def _input(
        self,
        workflow: Workflow[Any, Any],
        begun: Workflow[Any, Any],
        ended: EndedRun,
        failed: FailedRun[Any],
        place: Place,
    ) -> str:
        run_key, extra = failed.run_key, {"run_key": str(failed.run_key)}
        if ended.input is not None and workflow.takes_input:
            try:
                whole = msgspec.structs.replace(failed, input=self._decoded(workflow, ended, ended.input))
                text = begun.encoded_input(whole, self._codec, place)
                if len(text.encode()) <= _MAX_STORED:
                    return text
                reason = "it is too large"
            except Exception as error:  # also of a codec of the application, which may raise anything
                reason = str(error) if isinstance(error, DurableError) else type(error).__name__
            message = "the input of run %s is not passed on to workflow %r: %s"
            _logger.warning(message, run_key, begun.name, reason, extra=extra)
        try:
            return begun.encoded_input(failed, self._codec, place)
        except Exception as error:
            message = "what workflow %r is told of the failure of run %s cannot be encoded and is stored as JSON: %s"
            _logger.error(message, begun.name, run_key, type(error).__name__, extra=extra)
            return msgspec.json.encode(failed).decode()

    def _decoded(self, workflow: Workflow[Any, Any], ended: EndedRun, text: str) -> Any:
        place = place_of_input(
            workflow.name,
            ended.run_id,
            ended.parent_run_id,
            is_scheduled=ended.is_scheduled,
            has_continued=ended.has_continued,
        )
        codec = codec_at(workflow.codec or self._codec, place.kind, place.owner)
        return codec.decode(text, workflow.input_type, "its input")
