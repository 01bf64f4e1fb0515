"""What is logged of the tries of steps that fail."""

from __future__ import annotations

import logging
import traceback

from durable.core.replay.commands import Execute
from durable.core.runs import RunKey

_logger = logging.getLogger("durable.worker")


def log_failed_try(call: Execute, run_key: RunKey, number: int, error: BaseException, delay: float | None) -> None:
    """Says that the 1-based try failed, and what follows: another one in ``delay`` seconds, or, if that is ``None``, no
    other, in which case it also says where."""
    # Only the class of the error: its message may repeat what the step was given.
    extra = {"run_key": str(run_key), "step_key": call.key, "attempt": number}
    tries = call.retry.max_retries + 1
    kind = type(error).__name__
    if delay is not None:
        message = "step %r of run %s failed in try %d of %d with %s; it is tried again in %.2g s"
        _logger.warning(message, call.key, run_key, number, tries, kind, delay, extra=extra)
    else:
        message = "step %r of run %s failed in try %d of %d with %s; it is not tried again\n%s"
        frames = "".join(traceback.format_tb(error.__traceback__)).rstrip()
        _logger.warning(message, call.key, run_key, number, tries, kind, frames, extra=extra)
