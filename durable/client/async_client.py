"""The asyncio client: the methods of ``Client`` as coroutines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

from durable.client.beginnings import Begin, BeginOptions
from durable.client.begins import BeginOperations, Begun, ShardsAreRaised
from durable.client.connections import AsyncConnections, AsyncPool
from durable.client.handles import AsyncHandle, AsyncKeyHandle
from durable.client.looking import AsyncLookingCalls
from durable.client.messages import AsyncMessageCalls
from durable.client.new_begins import NewBegin
from durable.client.results import AsyncResults
from durable.client.schedules import ScheduleInfo, ScheduleOperations, ScheduleOptions
from durable.client.steering import AsyncSteeringCalls
from durable.client.targets import declared_output
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.replay.targets import Keyed, RunTarget, check_target
from durable.core.replay.workflow import InputT, OutputT, Workflow
from durable.core.run_options import RunOptions
from durable.core.runs import Run, RunInfo, RunKey, Status
from durable.core.schedules.expressions import Schedule
from durable.postgres.transactions import AsyncTransaction
from durable.store.operation import Operation

if TYPE_CHECKING:
    from typing_extensions import TypeForm  # only for type checkers, which bring it along

T = TypeVar("T")


class AsyncClient(AsyncMessageCalls, AsyncSteeringCalls, AsyncLookingCalls):
    """The asyncio counterpart of ``Client``: the same methods, as coroutines. An instance serves one event
    loop at a time. Made from a conninfo, it begins again in the next event loop once the one before is closed."""

    def __init__(
        self,
        conninfo_or_pool: str | AsyncPool,
        *,
        schema: str = "durable",
        codec: Codec | None = None,
        notify: bool = True,
    ) -> None:
        self._operations = BeginOperations(JsonCodec() if codec is None else codec, notify=notify)
        self._connections = AsyncConnections(conninfo_or_pool, schema)
        self._schedules = ScheduleOperations(self._operations)
        self._results = AsyncResults(self._connections, self._operations)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Same as ``Client.close``. Tasks that are still waiting for a result get a ``DurableError``."""
        await self._results.close()
        await self._connections.close()

    @overload
    async def begin(
        self, wf: Workflow[None, OutputT], input: None = None, **options: Unpack[BeginOptions]
    ) -> AsyncHandle[OutputT]: ...
    @overload
    async def begin(
        self, wf: Workflow[InputT, OutputT], input: InputT, **options: Unpack[BeginOptions]
    ) -> AsyncHandle[OutputT]: ...
    async def begin(
        self, wf: Workflow[Any, Any], input: Any = None, **options: Unpack[BeginOptions]
    ) -> AsyncHandle[Any]:
        """Same as ``Client.begin``."""
        new = self._operations.new_run(wf, input, **options)
        return self._begun(wf, await self._begin(new))

    async def _begin(self, new: NewBegin) -> Begun:
        if new.is_plain:
            try:
                return await self._connections.run(self._operations.begin(new, is_transaction=False))
            except ShardsAreRaised:
                pass
        return await self._connections.transact(self._operations.begin(new, is_transaction=True))

    @overload
    async def begin_tx(
        self, tx: AsyncTransaction, wf: Workflow[None, Any], input: None = None, **options: Unpack[BeginOptions]
    ) -> RunKey: ...
    @overload
    async def begin_tx(
        self, tx: AsyncTransaction, wf: Workflow[InputT, Any], input: InputT, **options: Unpack[BeginOptions]
    ) -> RunKey: ...
    async def begin_tx(
        self, tx: AsyncTransaction, wf: Workflow[Any, Any], input: Any = None, **options: Unpack[BeginOptions]
    ) -> RunKey:
        """Same as ``Client.begin_tx``."""
        new = self._operations.new_run(wf, input, **options)
        return (await self._connections.take_part(tx, self._operations.begin(new, is_transaction=True))).run_key

    async def begin_many(
        self, wf: Workflow[InputT, Any], inputs: Iterable[InputT | Begin[InputT]], **options: Unpack[RunOptions]
    ) -> list[RunKey]:
        """Same as ``Client.begin_many``."""
        new = self._operations.new_runs(wf, inputs, **options)
        return await self._connections.transact(self._operations.begin_many(new))

    async def schedule(
        self,
        wf: Workflow[InputT, Any],
        input: InputT,
        schedule_id: str | None,
        schedule: Schedule | str,
        **options: Unpack[ScheduleOptions],
    ) -> bool:
        """Same as ``Client.schedule``."""
        request = self._schedules.new_schedule(wf, input, schedule_id, schedule, **options)
        return await self._connections.transact(self._schedules.schedule(request))

    async def schedule_tx(
        self,
        tx: AsyncTransaction,
        wf: Workflow[InputT, Any],
        input: InputT,
        schedule_id: str | None,
        schedule: Schedule | str,
        **options: Unpack[ScheduleOptions],
    ) -> bool:
        """Same as ``Client.schedule_tx``."""
        request = self._schedules.new_schedule(wf, input, schedule_id, schedule, **options)
        return await self._connections.take_part(tx, self._schedules.schedule(request))

    async def pause_schedule(self, schedule_id: str) -> None:
        """Same as ``Client.pause_schedule``."""
        await self._connections.transact(self._schedules.pause(schedule_id))

    async def pause_schedule_tx(self, tx: AsyncTransaction, schedule_id: str) -> None:
        """Same as ``Client.pause_schedule_tx``."""
        await self._connections.take_part(tx, self._schedules.pause(schedule_id))

    async def resume_schedule(self, schedule_id: str) -> None:
        """Same as ``Client.resume_schedule``."""
        await self._connections.transact(self._schedules.resume(schedule_id))

    async def resume_schedule_tx(self, tx: AsyncTransaction, schedule_id: str) -> None:
        """Same as ``Client.resume_schedule_tx``."""
        await self._connections.take_part(tx, self._schedules.resume(schedule_id))

    async def delete_schedule(self, schedule_id: str) -> None:
        """Same as ``Client.delete_schedule``."""
        await self._connections.transact(self._schedules.delete(schedule_id))

    async def delete_schedule_tx(self, tx: AsyncTransaction, schedule_id: str) -> None:
        """Same as ``Client.delete_schedule_tx``."""
        await self._connections.take_part(tx, self._schedules.delete(schedule_id))

    async def list_schedules(self) -> list[ScheduleInfo]:
        """Same as ``Client.list_schedules``."""
        return await self._connections.transact(self._schedules.statuses())

    async def list_schedules_tx(self, tx: AsyncTransaction) -> list[ScheduleInfo]:
        """Same as ``Client.list_schedules_tx``."""
        return await self._connections.take_part(tx, self._schedules.statuses())

    async def trigger_schedule(self, schedule_id: str) -> RunKey:
        """Same as ``Client.trigger_schedule``."""
        run_id = self._schedules.new_run_id()
        return await self._connections.transact(self._schedules.trigger(schedule_id, run_id))

    async def trigger_schedule_tx(self, tx: AsyncTransaction, schedule_id: str) -> RunKey:
        """Same as ``Client.trigger_schedule_tx``."""
        return await self._connections.take_part(tx, self._schedules.trigger(schedule_id, self._schedules.new_run_id()))

    async def backfill_schedule(self, schedule_id: str, start: datetime, end: datetime) -> list[RunKey]:
        """Same as ``Client.backfill_schedule``."""
        return await self._connections.transact(self._schedules.backfill(schedule_id, start, end))

    async def backfill_schedule_tx(
        self, tx: AsyncTransaction, schedule_id: str, start: datetime, end: datetime
    ) -> list[RunKey]:
        """Same as ``Client.backfill_schedule_tx``."""
        return await self._connections.take_part(tx, self._schedules.backfill(schedule_id, start, end))

    async def get_run_info(self, run_key: RunTarget) -> RunInfo:
        """Same as ``Client.get_run_info``."""
        return await self._connections.run(self._run_info(run_key))

    async def get_run_info_tx(self, tx: AsyncTransaction, run_key: RunTarget) -> RunInfo:
        """Same as ``Client.get_run_info_tx``."""
        return await self._connections.take_part(tx, self._run_info(run_key))

    @overload
    async def get_run_output(self, run_key: tuple[Workflow[Any, OutputT], str]) -> OutputT: ...
    @overload
    async def get_run_output(self, run_key: RunTarget, type: TypeForm[T]) -> T: ...
    @overload
    async def get_run_output(self, run_key: RunTarget, type: Any = Any) -> Any: ...
    async def get_run_output(self, run_key: RunTarget, type: Any = Any) -> Any:
        """Same as ``Client.get_run_output``."""
        return await self._connections.run(self._run_output(run_key, type))

    @overload
    async def get_run_output_tx(self, tx: AsyncTransaction, run_key: tuple[Workflow[Any, OutputT], str]) -> OutputT: ...
    @overload
    async def get_run_output_tx(self, tx: AsyncTransaction, run_key: RunTarget, type: TypeForm[T]) -> T: ...
    @overload
    async def get_run_output_tx(self, tx: AsyncTransaction, run_key: RunTarget, type: Any = Any) -> Any: ...
    async def get_run_output_tx(self, tx: AsyncTransaction, run_key: RunTarget, type: Any = Any) -> Any:
        """Same as ``Client.get_run_output_tx``."""
        return await self._connections.take_part(tx, self._run_output(run_key, type))

    async def list_runs(
        self,
        *,
        workflow: Workflow[Any, Any] | str | None = None,
        key: str | None = None,
        status: Status | None = None,
        limit: int = 100,
        before: RunTarget | None = None,
    ) -> list[Run]:
        """Same as ``Client.list_runs``."""
        query = self._operations.list_runs
        return await self._connections.run(query(workflow, status, limit, before, key))

    @overload
    def handle(self, run_key: Workflow[Any, OutputT], *, key: str) -> AsyncKeyHandle[OutputT]: ...
    @overload
    def handle(self, run_key: tuple[Workflow[Any, OutputT], str]) -> AsyncKeyHandle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Workflow[Any, OutputT]) -> AsyncHandle[OutputT]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: TypeForm[T]) -> AsyncHandle[T]: ...
    @overload
    def handle(self, run_key: RunKey | str, wf_or_type: Any = Any) -> AsyncHandle[Any]: ...
    def handle(
        self, run_key: Any, wf_or_type: Any = Any, *, key: str | None = None
    ) -> AsyncHandle[Any] | AsyncKeyHandle[Any]:
        """Same as ``Client.handle``."""
        named = run_key if key is None else (run_key, key)
        target = check_target("run_key", named)
        output_type, codec = declared_output(named, wf_or_type)
        if isinstance(target, Keyed):
            return AsyncKeyHandle(target, output_type, codec, self._results)
        return AsyncHandle(target, False, output_type, codec, self._results)

    def _begun(self, wf: Workflow[Any, Any], begun: Begun) -> AsyncHandle[Any]:
        return AsyncHandle(begun.run_key, begun.is_new, wf.output_type, wf.codec, self._results, begun.asked)

    def _run_info(self, run: RunTarget) -> Operation[RunInfo]:
        return self._operations.run_info(check_target("run_key", run), declared_output(run, Any)[1])

    def _run_output(self, run: RunTarget, type: Any) -> Operation[Any]:
        output_type, codec = declared_output(run, type)
        return self._operations.run_output(check_target("run_key", run), output_type, codec)
