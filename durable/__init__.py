"""Durable execution for Python on Postgres: plain async functions that survive anything."""

from durable.async_client import AsyncClient
from durable.client import Client
from durable.core.child import ChildHandle
from durable.core.codec import Codec, JsonCodec
from durable.core.context import Context
from durable.core.errors import (
    DeserializationError,
    DuplicateKey,
    DurableError,
    EventTimeout,
    InvalidArgument,
    NondeterminismError,
    ResultTimeout,
    RunCancelled,
    RunFailed,
    RunNotCancellable,
    RunNotCompleted,
    RunNotFound,
    RunNotRetryable,
    RunTerminal,
    ScheduleNotFound,
    SchemaError,
    SerializationError,
    StepFailed,
    Terminal,
    WorkflowCodeError,
    WorkflowCodeWarning,
)
from durable.core.failures import ErrorInfo
from durable.core.replay.decorator import workflow
from durable.core.retry import Backoff, RetryPolicy, RunRetryPolicy, exponential
from durable.core.runs import Run, RunKey, RunStatus
from durable.core.schedule import Cron, Every
from durable.core.workflow import Workflow
from durable.handle import AsyncHandle, Handle
from durable.operations import BeginOptions
from durable.schedule_operations import ScheduleOptions, ScheduleStatus
from durable.worker import Worker, WorkerStatus

__all__ = [
    "workflow",
    "Workflow",
    "Context",
    "ChildHandle",
    "Client",
    "AsyncClient",
    "Handle",
    "AsyncHandle",
    "Worker",
    "WorkerStatus",
    "RunKey",
    "Run",
    "RunStatus",
    "RetryPolicy",
    "RunRetryPolicy",
    "Backoff",
    "exponential",
    "Cron",
    "Every",
    "ScheduleStatus",
    "ScheduleOptions",
    "BeginOptions",
    "Codec",
    "JsonCodec",
    "DurableError",
    "InvalidArgument",
    "SerializationError",
    "DeserializationError",
    "WorkflowCodeError",
    "WorkflowCodeWarning",
    "DuplicateKey",
    "NondeterminismError",
    "StepFailed",
    "Terminal",
    "EventTimeout",
    "RunNotFound",
    "RunNotCompleted",
    "RunNotCancellable",
    "RunNotRetryable",
    "RunFailed",
    "RunCancelled",
    "RunTerminal",
    "ResultTimeout",
    "SchemaError",
    "ScheduleNotFound",
    "ErrorInfo",
]
