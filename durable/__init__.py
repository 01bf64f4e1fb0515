"""Durable execution for Python on Postgres: plain async functions that survive anything."""

from durable.client import (
    AsyncClient,
    AsyncHandle,
    AsyncKeyHandle,
    AsyncRequestHandle,
    Client,
    Handle,
    KeyHandle,
    RequestHandle,
)
from durable.client.beginnings import Begin, BeginOptions
from durable.client.requests import Ask
from durable.client.schedules import ScheduleInfo, ScheduleOptions
from durable.core.codec.json_codec import Codec, JsonCodec
from durable.core.codec.places import Place
from durable.core.diagnosis.cause import Cause
from durable.core.errors import (
    DeserializationError,
    DuplicateKey,
    DurableError,
    EventTimeout,
    InvalidArgument,
    MapFailed,
    NondeterminismError,
    NotInTransaction,
    OutsideOfRun,
    RequestNotFound,
    RequestRefused,
    RequestTimeout,
    ResultTimeout,
    RunCancelled,
    RunEnded,
    RunExists,
    RunFailed,
    RunNotCancellable,
    RunNotCompleted,
    RunNotFound,
    RunNotPausable,
    RunNotPaused,
    RunNotReschedulable,
    RunNotRetryable,
    RunTerminal,
    ScheduleNotFound,
    SchemaError,
    SerializationError,
    StepFailed,
    StepInterrupted,
    Terminal,
    WorkflowCodeError,
    WorkflowCodeWarning,
)
from durable.core.events import Event
from durable.core.failures import ErrorInfo
from durable.core.replay.child import ChildHandle
from durable.core.replay.context import Context
from durable.core.replay.current import RunLogFilter, Step, current_context, current_step
from durable.core.replay.decorator import WorkflowOptions, workflow
from durable.core.replay.failed_run import FailedRun
from durable.core.replay.mapping import MapResult
from durable.core.replay.request import Request
from durable.core.replay.saga import Saga
from durable.core.replay.step_call import Call
from durable.core.replay.workflow import OnFailure, Workflow
from durable.core.retry import Backoff, RetryPolicy, RunRetryPolicy, exponential
from durable.core.run_options import RunOptions
from durable.core.runs import Run, RunInfo, RunKey, Status, StatusReason
from durable.core.schedules.expressions import Cron, Every
from durable.store.pauses import PausedWorkflow
from durable.worker import Worker, WorkerStatus

__all__ = [
    "workflow",
    "WorkflowOptions",
    "Workflow",
    "OnFailure",
    "FailedRun",
    "Context",
    "Call",
    "current_context",
    "current_step",
    "Step",
    "RunLogFilter",
    "ChildHandle",
    "Event",
    "MapResult",
    "Request",
    "Saga",
    "Client",
    "AsyncClient",
    "Handle",
    "AsyncHandle",
    "KeyHandle",
    "AsyncKeyHandle",
    "RequestHandle",
    "AsyncRequestHandle",
    "Worker",
    "WorkerStatus",
    "RunKey",
    "Run",
    "RunInfo",
    "Status",
    "StatusReason",
    "Cause",
    "PausedWorkflow",
    "RetryPolicy",
    "RunRetryPolicy",
    "Backoff",
    "exponential",
    "Cron",
    "Every",
    "ScheduleInfo",
    "ScheduleOptions",
    "Begin",
    "BeginOptions",
    "Ask",
    "RunOptions",
    "Codec",
    "JsonCodec",
    "Place",
    "DurableError",
    "InvalidArgument",
    "SerializationError",
    "DeserializationError",
    "WorkflowCodeError",
    "WorkflowCodeWarning",
    "DuplicateKey",
    "NondeterminismError",
    "NotInTransaction",
    "OutsideOfRun",
    "StepFailed",
    "MapFailed",
    "StepInterrupted",
    "Terminal",
    "EventTimeout",
    "RunNotFound",
    "RunExists",
    "RunNotCompleted",
    "RunNotCancellable",
    "RunNotPausable",
    "RunNotPaused",
    "RunNotReschedulable",
    "RunNotRetryable",
    "RunFailed",
    "RunCancelled",
    "RunTerminal",
    "ResultTimeout",
    "RequestTimeout",
    "RequestRefused",
    "RequestNotFound",
    "RunEnded",
    "SchemaError",
    "ScheduleNotFound",
    "ErrorInfo",
]
