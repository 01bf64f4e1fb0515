"""The part of both clients that steers runs that were begun."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from durable.client.begins import BeginOperations
from durable.client.connections import AsyncConnections, Connections
from durable.core.replay.targets import RunTarget
from durable.core.replay.workflow import Workflow
from durable.postgres.transactions import AsyncTransaction, SyncTransaction
from durable.store.pauses import PausedWorkflow


class SteeringCalls:
    """What a ``Client`` has runs do."""

    _operations: BeginOperations
    _connections: Connections

    def cancel_run(self, run_key: RunTarget, reason: str | None = None) -> None:
        """Requests that a run be cancelled, and returns without waiting for that. Requesting it twice has the same
        effect as requesting it once.

        The workflow gets ``CancelledError`` at whatever it is awaiting, and so does an async step that is running. The
        workflow may clean up, with further steps if necessary; however it ends after that, the run is ``cancelled``. A
        run that was never started is cancelled without being executed.

        Raises ``RunNotFound``, ``RunNotCancellable`` (the run has already ended) or ``InvalidArgument``, in which case
        nothing was stored.
        """
        request = self._operations.new_request(run_key, "cancel", reason)
        self._connections.run(self._operations.request_end(request))

    def cancel_run_tx(self, tx: SyncTransaction, run_key: RunTarget, reason: str | None = None) -> None:
        """Like ``cancel_run``, but in the caller's transaction: the run is cancelled only if that transaction commits.
        See ``begin_tx`` for ``tx``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        self._connections.take_part(tx, self._operations.request_end(request))

    def terminate_run(self, run_key: RunTarget, reason: str | None = None) -> None:
        """Like ``cancel_run``, but without a clean-up: nothing more of the workflow is executed."""
        request = self._operations.new_request(run_key, "terminate", reason)
        self._connections.run(self._operations.request_end(request))

    def terminate_run_tx(self, tx: SyncTransaction, run_key: RunTarget, reason: str | None = None) -> None:
        """Like ``terminate_run``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        self._connections.take_part(tx, self._operations.request_end(request))

    def retry_run(self, run_key: RunTarget) -> None:
        """Lets a failed or cancelled run continue from its memos, without a deadline: finished steps are kept, failed
        ones are tried again from scratch.

        Raises ``RunNotFound``, ``RunNotRetryable`` (also if there is a newer run with its key) or ``InvalidArgument``,
        in which case nothing was stored.
        """
        request = self._operations.new_request(run_key, "retry")
        self._connections.run(self._operations.request_retry(request))

    def retry_run_tx(self, tx: SyncTransaction, run_key: RunTarget) -> None:
        """Like ``retry_run``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_request(run_key, "retry")
        self._connections.take_part(tx, self._operations.request_retry(request))

    def pause_run(self, run_key: RunTarget, reason: str | None = None) -> None:
        """Requests that a run be paused, and returns without waiting for that. No new step of it starts; those that are
        running finish, and are recorded. Events are kept for it meanwhile. Its sleeps, timeouts and its deadline count
        on, and take effect once it is resumed. Children are not paused. A cancel or a termination lifts the pause.

        Raises ``RunNotFound``, ``RunNotPausable`` (the run has ended) or ``InvalidArgument``, in which case nothing was
        stored.
        """
        request = self._operations.new_request(run_key, "pause", reason)
        self._connections.run(self._operations.request_pause(request))

    def pause_run_tx(self, tx: SyncTransaction, run_key: RunTarget, reason: str | None = None) -> None:
        """Like ``pause_run``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_request(run_key, "pause", reason)
        self._connections.take_part(tx, self._operations.request_pause(request))

    def resume_run(self, run_key: RunTarget) -> None:
        """Lets a paused run go on.

        Raises ``RunNotFound``, ``RunNotPaused`` or ``InvalidArgument``, in which case nothing was stored.
        """
        request = self._operations.new_request(run_key, "resume")
        self._connections.run(self._operations.request_resume(request))

    def resume_run_tx(self, tx: SyncTransaction, run_key: RunTarget) -> None:
        """Like ``resume_run``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_request(run_key, "resume")
        self._connections.take_part(tx, self._operations.request_resume(request))

    def reschedule_run(
        self,
        run_key: RunTarget,
        *,
        at: datetime | None = None,
        delay: timedelta | float | None = None,
        sleeps: bool = False,
    ) -> None:
        """Requests that a run go on at another time, at ``at`` (aware) or ``delay`` seconds from now, by the database's
        clock: one that has not started, that is set aside or between attempts, or a step of it that is between tries.
        With ``sleeps=True``, the sleeps of its code end then as well.

        A run that is executed by then, or that turns out to have no such time, is left as it is, which its worker logs.
        Raises ``RunNotFound``, ``RunNotReschedulable`` (the run is executing, has ended, or waits for another run with
        its key) or ``InvalidArgument``, in which case nothing was stored.
        """
        request = self._operations.new_reschedule(run_key, at, delay, sleeps=sleeps)
        self._connections.run(self._operations.request_reschedule(request))

    def reschedule_run_tx(
        self,
        tx: SyncTransaction,
        run_key: RunTarget,
        *,
        at: datetime | None = None,
        delay: timedelta | float | None = None,
        sleeps: bool = False,
    ) -> None:
        """Like ``reschedule_run``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_reschedule(run_key, at, delay, sleeps=sleeps)
        self._connections.take_part(tx, self._operations.request_reschedule(request))

    def run_now(self, run_key: RunTarget, *, sleeps: bool = False) -> None:
        """Same as ``reschedule_run`` with ``delay=0``."""
        request = self._operations.new_reschedule(run_key, None, 0, sleeps=sleeps)
        self._connections.run(self._operations.request_reschedule(request))

    def run_now_tx(self, tx: SyncTransaction, run_key: RunTarget, *, sleeps: bool = False) -> None:
        """Like ``run_now``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        request = self._operations.new_reschedule(run_key, None, 0, sleeps=sleeps)
        self._connections.take_part(tx, self._operations.request_reschedule(request))

    def pause_workflow(self, workflow: Workflow[Any, Any] | str, reason: str | None = None) -> bool:
        """Has all workers claim no more runs of a workflow, within about a second; those that they are executing go on.
        Runs can be begun meanwhile and are queued. Events and cancels reach their runs, which act on them once the
        workflow is resumed. Returns False if it was paused already. Raises ``InvalidArgument``."""
        return self._connections.run(self._operations.pause_workflow(workflow, reason, is_paused=True))

    def pause_workflow_tx(
        self, tx: SyncTransaction, workflow: Workflow[Any, Any] | str, reason: str | None = None
    ) -> bool:
        """Like ``pause_workflow``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._operations.pause_workflow(workflow, reason, is_paused=True))

    def resume_workflow(self, workflow: Workflow[Any, Any] | str) -> bool:
        """Has workers claim runs of a workflow again. Returns False if it was not paused. Raises
        ``InvalidArgument``."""
        return self._connections.run(self._operations.pause_workflow(workflow, None, is_paused=False))

    def resume_workflow_tx(self, tx: SyncTransaction, workflow: Workflow[Any, Any] | str) -> bool:
        """Like ``resume_workflow``, but in the caller's transaction. See ``begin_tx`` for ``tx``."""
        return self._connections.take_part(tx, self._operations.pause_workflow(workflow, None, is_paused=False))

    def list_paused_workflows(self) -> list[PausedWorkflow]:
        """Returns the workflows that are paused, ordered by name."""
        return self._connections.run(self._operations.paused_workflows())


class AsyncSteeringCalls:
    """The asyncio counterpart of ``SteeringCalls``."""

    _operations: BeginOperations
    _connections: AsyncConnections

    async def cancel_run(self, run_key: RunTarget, reason: str | None = None) -> None:
        """Same as ``Client.cancel_run``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        await self._connections.run(self._operations.request_end(request))

    async def cancel_run_tx(self, tx: AsyncTransaction, run_key: RunTarget, reason: str | None = None) -> None:
        """Same as ``Client.cancel_run_tx``."""
        request = self._operations.new_request(run_key, "cancel", reason)
        await self._connections.take_part(tx, self._operations.request_end(request))

    async def terminate_run(self, run_key: RunTarget, reason: str | None = None) -> None:
        """Same as ``Client.terminate_run``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        await self._connections.run(self._operations.request_end(request))

    async def terminate_run_tx(self, tx: AsyncTransaction, run_key: RunTarget, reason: str | None = None) -> None:
        """Same as ``Client.terminate_run_tx``."""
        request = self._operations.new_request(run_key, "terminate", reason)
        await self._connections.take_part(tx, self._operations.request_end(request))

    async def retry_run(self, run_key: RunTarget) -> None:
        """Same as ``Client.retry_run``."""
        request = self._operations.new_request(run_key, "retry")
        await self._connections.run(self._operations.request_retry(request))

    async def retry_run_tx(self, tx: AsyncTransaction, run_key: RunTarget) -> None:
        """Same as ``Client.retry_run_tx``."""
        request = self._operations.new_request(run_key, "retry")
        await self._connections.take_part(tx, self._operations.request_retry(request))

    async def pause_run(self, run_key: RunTarget, reason: str | None = None) -> None:
        """Same as ``Client.pause_run``."""
        request = self._operations.new_request(run_key, "pause", reason)
        await self._connections.run(self._operations.request_pause(request))

    async def pause_run_tx(self, tx: AsyncTransaction, run_key: RunTarget, reason: str | None = None) -> None:
        """Same as ``Client.pause_run_tx``."""
        request = self._operations.new_request(run_key, "pause", reason)
        await self._connections.take_part(tx, self._operations.request_pause(request))

    async def resume_run(self, run_key: RunTarget) -> None:
        """Same as ``Client.resume_run``."""
        request = self._operations.new_request(run_key, "resume")
        await self._connections.run(self._operations.request_resume(request))

    async def resume_run_tx(self, tx: AsyncTransaction, run_key: RunTarget) -> None:
        """Same as ``Client.resume_run_tx``."""
        request = self._operations.new_request(run_key, "resume")
        await self._connections.take_part(tx, self._operations.request_resume(request))

    async def reschedule_run(
        self,
        run_key: RunTarget,
        *,
        at: datetime | None = None,
        delay: timedelta | float | None = None,
        sleeps: bool = False,
    ) -> None:
        """Same as ``Client.reschedule_run``."""
        request = self._operations.new_reschedule(run_key, at, delay, sleeps=sleeps)
        await self._connections.run(self._operations.request_reschedule(request))

    async def reschedule_run_tx(
        self,
        tx: AsyncTransaction,
        run_key: RunTarget,
        *,
        at: datetime | None = None,
        delay: timedelta | float | None = None,
        sleeps: bool = False,
    ) -> None:
        """Same as ``Client.reschedule_run_tx``."""
        request = self._operations.new_reschedule(run_key, at, delay, sleeps=sleeps)
        await self._connections.take_part(tx, self._operations.request_reschedule(request))

    async def run_now(self, run_key: RunTarget, *, sleeps: bool = False) -> None:
        """Same as ``Client.run_now``."""
        request = self._operations.new_reschedule(run_key, None, 0, sleeps=sleeps)
        await self._connections.run(self._operations.request_reschedule(request))

    async def run_now_tx(self, tx: AsyncTransaction, run_key: RunTarget, *, sleeps: bool = False) -> None:
        """Same as ``Client.run_now_tx``."""
        request = self._operations.new_reschedule(run_key, None, 0, sleeps=sleeps)
        await self._connections.take_part(tx, self._operations.request_reschedule(request))

    async def pause_workflow(self, workflow: Workflow[Any, Any] | str, reason: str | None = None) -> bool:
        """Same as ``Client.pause_workflow``."""
        return await self._connections.run(self._operations.pause_workflow(workflow, reason, is_paused=True))

    async def pause_workflow_tx(
        self, tx: AsyncTransaction, workflow: Workflow[Any, Any] | str, reason: str | None = None
    ) -> bool:
        """Same as ``Client.pause_workflow_tx``."""
        return await self._connections.take_part(tx, self._operations.pause_workflow(workflow, reason, is_paused=True))

    async def resume_workflow(self, workflow: Workflow[Any, Any] | str) -> bool:
        """Same as ``Client.resume_workflow``."""
        return await self._connections.run(self._operations.pause_workflow(workflow, None, is_paused=False))

    async def resume_workflow_tx(self, tx: AsyncTransaction, workflow: Workflow[Any, Any] | str) -> bool:
        """Same as ``Client.resume_workflow_tx``."""
        return await self._connections.take_part(tx, self._operations.pause_workflow(workflow, None, is_paused=False))

    async def list_paused_workflows(self) -> list[PausedWorkflow]:
        """Same as ``Client.list_paused_workflows``."""
        return await self._connections.run(self._operations.paused_workflows())
