"""What is written of each kind of entry of a record, and by which statement."""

from __future__ import annotations

from collections.abc import Mapping

from durable.store.records import (
    AbandonedWait,
    AnsweredWait,
    CancelMemo,
    ChildMemo,
    DroppedTimer,
    Entry,
    GatheringWait,
    OpenedWait,
    OrderedStep,
    PatchMemo,
    RecordedTry,
    ReplyMemo,
    StepMemo,
)
from durable.store.statement import NoRow, Query

_ABANDON_WAITS = Query("flush/abandon_waits", NoRow)

ENTRIES: dict[type[Entry], tuple[Query[NoRow], Mapping[str, str]]] = {
    StepMemo: (
        Query("flush/record_steps", NoRow),
        {
            "step_keys": "key",
            "kinds": "kind",
            "seqs": "seq",
            "fns": "fn",
            "attempts": "attempts",
            "tooks": "took",
            "inputs": "input",
            "outputs": "output",
            "errors": "error",
            "ats": "at",
        },
    ),
    PatchMemo: (Query("flush/record_patches", NoRow), {"step_keys": "key", "outputs": "output"}),
    CancelMemo: (
        Query("flush/record_cancels", NoRow),
        {"seqs": "seq", "causes": "cause", "reasons": "reason", "ats": "at"},
    ),
    ChildMemo: (
        Query("flush/record_children", NoRow),
        {
            "step_keys": "key",
            "seqs": "seq",
            "fns": "workflow_name",
            "outputs": "output",
            "child_shards": "child_shard",
            "child_run_ids": "child_run_id",
            "ats": "at",
        },
    ),
    OrderedStep: (Query("flush/order_steps", NoRow), {"step_keys": "key", "seqs": "seq", "ats": "at"}),
    DroppedTimer: (_ABANDON_WAITS, {"wait_keys": "key"}),
    OpenedWait: (
        Query("flush/open_waits", NoRow),
        {
            "wait_keys": "key",
            "wait_types": "wait_type",
            "event_names": "event_name",
            "child_run_ids": "child_run_id",
            "wake_ins": "wake_in",
            "untils": "until",
        },
    ),
    GatheringWait: (Query("flush/gather_events", NoRow), {"wait_keys": "key", "untils": "until"}),
    AnsweredWait: (
        Query("flush/satisfy_waits", NoRow),
        {
            "wait_keys": "key",
            "seqs": "seq",
            "timed_outs": "timed_out",
            "event_ids": "event_id",
            "payloads": "payload",
            "ats": "at",
            "unfits": "unfit",
        },
    ),
    ReplyMemo: (
        Query("flush/record_replies", NoRow),
        {
            "step_keys": "key",
            "seqs": "seq",
            "fns": "name",
            "request_ids": "request_id",
            "replies": "reply",
            "refusals": "is_refused",
            "ats": "at",
        },
    ),
    RecordedTry: (
        Query("flush/record_tries", NoRow),
        {
            "wait_keys": "key",
            "wait_types": "wait_type",
            "fns": "fn",
            "untils": "until",
            "payloads": "payload",
        },
    ),
    AbandonedWait: (_ABANDON_WAITS, {"wait_keys": "key"}),
}
"""For each kind of entry, in the order in which they are written: the statement, and which field goes into which
parameter."""
