"""The planted bugs, by the room they are in."""

from __future__ import annotations

from durable.client.requests import RequestOperations
from durable.core import retry, shards, suspicion
from durable.core.codec.json_codec import JsonCodec
from durable.core.replay import endings, loop, machine, saga
from durable.core.replay import isolation as isolation_of_arguments
from durable.core.replay.calls import Calls
from durable.core.replay.history import History
from durable.core.replay.machine import Machine
from durable.core.replay.mapping import _Mapping
from durable.core.replay.numbered import NumberedTask
from durable.core.replay.request import Request
from durable.core.replay.saga import Saga
from durable.core.schedules import ticks, timetable, turns
from durable.store import ids
from durable.worker import isolation, precedence
from durable.worker.blocked_records import Blocked
from durable.worker.isolation import Isolation
from durable.worker.run import attempt, execution
from durable.worker.run.attempt import Attempt
from durable.worker.run.execution import Execution
from durable.worker.run.inbox import Inbox
from durable.worker.run.performing import Performance
from durable.worker.run.recording import Recording
from durable.worker.run.steering import Steering
from durable.worker.run.step_tasks import StepTasks
from durable.worker.run.step_tries import StepTries
from durable.worker.run.waits import OpenWaits
from tests.mutants.planting import Mutant, QueryMutant

CRASHES, CODE, TYPES, KEYS, CLOSING = "random crashes", "changed code", "changed types", "keys", "closing"
GUILT, ASYNCIO, ARGUMENTS = "guilt", "asyncio", "arguments"
RETRIES, ENDINGS, CODEC, TICKS, SHARDS = "retries", "endings", "codec", "ticks", "shards"
RESERVED, BLOCKED, PRECEDENCE = "reserved ids", "blocked records", "precedence"
IN_TURNS = "turns"
TIMERS, CHANGED_TIMERS, SALT, LOADS, FORGETS = "timers", "changed timers", "salt", "loads", "forgets"
CHAPTERS, DECIDED, GENERATIONS = "chapters", "decided", "generations"
REQUESTS = "requests"

REPLAY = (
    Mutant(
        "memos are replayed by key, not in their order",
        CRASHES, History, "in_order", "(memo.seq is None, memo.seq or 0, memo.key)", "memo.key",
    ),
    Mutant(
        "a transaction without its order comes first",
        CRASHES, History, "in_order", "(memo.seq is None,", "(memo.seq is not None,",
    ),
    Mutant(
        "a recorded cancel is forgotten",
        CRASHES, History, "in_order", "if not memo.carried", 'if not memo.carried and memo.kind != "cancel"',
    ),
    Mutant(
        "a failed step is left out of the replay",
        CRASHES, History, "in_order", "if not memo.carried", "if not memo.carried and isinstance(memo.outcome, Value)",
    ),
    Mutant(
        "memos are answered by position",
        CRASHES, Machine, "_meet_history", "answer = self._pending.pop(memo.key, None)",
        "answer = self._pending.pop(next(iter(self._pending), memo.key), None)",
    ),
    Mutant(
        "the loop runs the last callback first",
        CRASHES, loop.ReplayLoop, "run_slice", "ready.popleft()", "ready.pop()",
    ),
    Mutant(
        "the machine runs on before the code is quiet",
        CRASHES, Machine, "_meet_history", "if is_met and", "if memo.seq is None and",
    ),
    Mutant(
        "a timed-out wait is answered with a value",
        CRASHES, Machine, "_settle", "answer.set_exception(call.timed_out())",
        "answer.set_result(None)",
    ),
    Mutant(
        "an answer that does not fit is raised in the workflow",
        TYPES, Machine, "_settle", "self.does_not_fit(error)",
        "answer.set_exception(error)",
    ),
    Mutant(
        "an answer is not decoded",
        CRASHES, JsonCodec, "decode", "value = decoder.decode(text)", "value = msgspec.json.decode(text)",
    ),
    Mutant(
        "carried memos are answered last call first",
        CRASHES, Machine, "_more_turns", "self._carried.popleft()", "self._carried.pop()",
    ),
    Mutant(
        "carried memos are not answered",
        CRASHES, Machine, "_more_turns", "while self._carried and", "while False and",
    ),
    Mutant(
        "a late order begins at one again",
        CRASHES, Machine, "unordered", "first = self._seq + 1", "first = 1",
    ),
    Mutant(
        "a call with its memo is asked for again",
        CRASHES, Machine, "call", "elif not isinstance(known, Memo):", "elif True:",
    ),
    Mutant(
        "the answer to a call that was given up is accepted",
        CRASHES, Machine, "abandoned", "self._pending.pop(call.key, None)", "pass",
    ),
    Mutant(
        "a wait that was begun before a crash is not given up",
        CRASHES, Machine, "abandoned", "or isinstance(self._known.get(call.key), OpenWait)", "",
    ),
    Mutant(
        "a run that swallows its cancel completes",
        CRASHES, machine, "outcome_of", "if cancel is not None:", "if cancel is not None and main.cancelled():",
    ),
    Mutant(
        "a run is cancelled twice",
        CRASHES, Machine, "cancel", "if not self.may_be_cancelled:", "if self.is_done:",
    ),
    Mutant(
        "a replay tells the time of its own clock",
        ASYNCIO, Machine, "_meet", "if memo.seq is not None and memo.at is not None", "if memo.seq is None and memo.at",
    ),
    Mutant(
        "an async generator that is left half-way is not closed",
        ASYNCIO, loop.ReplayLoop, "close_generator", "self.create_task(generator.aclose())", "pass",
    ),
    Mutant(
        "code that turns in circles is never left",
        ASYNCIO, loop.ReplayLoop, "slices", "idle < max_idle and slices < max_slices", "slices < 1500",
    ),
    Mutant("a step gets the list itself", ARGUMENTS, isolation_of_arguments, "_container", "copy.copy(value)", "value"),
    Mutant("sets of tasks are ordered by address", CLOSING, NumberedTask, "__hash__", "self._hash", "id(self) >> 4"),
    Mutant("a closed machine goes on", CLOSING, Machine, "close", "self._is_closed = True", "pass"),
    Mutant("a key may be used twice", KEYS, Machine, "call", "if key in self._used:", "if False:"),
    Mutant(
        "what the code does not call any more is not missed",
        CODE, Machine, "_check_history_was_met", "if missed is not None and self.loop.refusal is None:", "if False:",
    ),
    Mutant(
        "open waits need not be called",
        CODE, Machine, "_check_history_was_met", "else self._missed_wait()", "else None",
    ),
    Mutant(
        "the name of a call is not compared",
        CODE, Machine, "call", "known.kind != call.kind or known.name != call.name", "known.kind != call.kind",
    ),
    Mutant(
        "the kind of a call is not compared",
        CODE, Machine, "call", "known.kind != call.kind or known.name != call.name", "known.name != call.name",
    ),
)  # fmt: skip

EXECUTION = (
    Mutant(
        "an effect starts before earlier memos are durable",
        CRASHES, Execution, "_settle", "self._flushes == 0 and is_empty:", "True:",
    ),
    Mutant(
        "a step starts while the worker stops",
        CRASHES, Execution, "_may_go_on", "not self.is_draining and self._pause is None", "self._pause is None",
    ),
    Mutant(
        "draws are not recorded",
        CRASHES, Execution, "_answer_step", "if seq is not None:", "if seq is not None and isinstance(call, Execute):",
    ),
    Mutant(
        "events are taken before the inbox is known",
        CRASHES, Inbox, "take", 'if kind == "child" or self.is_known else None', "if True else None",
    ),
    Mutant(
        "what came live goes before what was there",
        CRASHES, Inbox, "load", "(*events, *here.values())", "(*here.values(), *events)",
    ),
    Mutant(
        "an event is not marked as consumed",
        CRASHES, Recording, "answered", "isinstance(outcome, TimedOut), event_id, payload",
        "isinstance(outcome, TimedOut), None, payload",
    ),
    Mutant(
        "the memo of a transaction is written twice",
        CRASHES, Recording, "step", "if finished.is_stored:", "if False:",
    ),
    Mutant(
        "waits that were given up stay open",
        CRASHES, Execution, "_forget", "self._recording.abandoned(key)", "pass",
    ),
    Mutant(
        "a child is not asked to cancel",
        CRASHES, Execution, "_perform_one",
        "self._recording.unwanted(command.run_key, is_awaited=command.is_awaited)", "pass",
    ),
    Mutant(
        "a step starts beside one that was cancelled and has not ended",
        CRASHES, StepTasks, "may_start", "bool(self.startable) and not self._unwinding", "bool(self.startable)",
    ),
    Mutant(
        "a run ends while a step that it cancelled has not ended",
        CRASHES, Execution, "_settle", "self._steps.forget_all(self._let_go)", "self._steps.cancel()",
    ),
    Mutant(
        "a wait is answered in the turn that gives it up",
        CRASHES, Execution, "_wait", "if not isinstance(call, Sleep):",
        "if arrival := self._waits.next_arrival(self._inbox):\n"
        "        self._answer_wait(arrival[0], Value(arrival[1][0].payload), (arrival[1][0].event_id,))\n"
        "    elif not isinstance(call, Sleep):",
    ),
)  # fmt: skip

DECISIONS = (
    Mutant(
        "a run past its deadline counts as cancelled",
        CRASHES, endings, "cancelled", 'status="failed" if is_late else "cancelled"', 'status="cancelled"',
    ),
    Mutant(
        "a retry keeps what has failed",
        ENDINGS, endings, "ending_of", "wake_in=delay, failed_attempts=1, is_retry=True",
        "wake_in=delay, failed_attempts=1",
    ),
    Mutant(
        "the timeout that led to a failure is not named",
        ENDINGS, endings, "_failure_text", "with_contexts=True", "with_contexts=False",
    ),
    Mutant(
        "set aside for the same time for ever",
        ENDINGS, endings, "ending_of", "_SET_ASIDE_BACKOFF.delay(set_asides + 1)", "_SET_ASIDE_BACKOFF.delay(1)",
    ),
    Mutant(
        "one retry too few",
        RETRIES, retry.RetryPolicy, "next_delay", "failures > self.max_retries", "failures >= self.max_retries",
    ),
    Mutant(
        "one attempt too many",
        RETRIES, retry.RunRetryPolicy, "next_delay", "attempts >= self.max_attempts", "attempts > self.max_attempts",
    ),
    Mutant("the first delay is doubled", RETRIES, retry.Backoff, "delay", "(failures - 1)", "failures"),
    Mutant(
        "Terminal is retried where a step has raised it",
        RETRIES, retry, "is_hopeless", "member.error_type in _HOPELESS_NAMES", "False",
    ),
    Mutant(
        "NaN is stored as null",
        CODEC, JsonCodec, "encode", '(b"null" in data and self._may_hide_nan(value))', "False",
    ),
    Mutant(
        "two keys of a dict become one",
        CODEC, JsonCodec, "encode", "(_NUMBER_AS_KEY(data) is not None and self._may_repeat_key(data))", "False",
    ),
    Mutant(
        "what comes back different is stored",
        CODEC, JsonCodec, "may_change", "self._judgment(type).needs_comparison", "False",
    ),
    Mutant(
        "a missed tick is skipped",
        TICKS, turns, "plan", "(next_tick, *timetable.ticks(next_tick, now, wanted))",
        "tuple(timetable.ticks(next_tick, now, wanted))",
    ),
    Mutant(
        "a tick fires twice",
        TICKS, turns, "plan", "following = timetable.next_tick(now)", "following = ticks[-1]",
    ),
    Mutant(
        "a buffered tick is forgotten",
        TICKS, turns, "turn_of", "waiting = next(iter(queue[len(ticks) :]), None)", "waiting = None",
    ),
    Mutant(
        "the next tick of an interval is left out",
        TICKS, ticks.Counted, "after", "// self.period + 1", "// self.period + 2",
    ),
    Mutant(
        "all ticks share a run",
        TICKS, timetable, "_name", "{_utc('tick', tick).isoformat(timespec='microseconds')} ", "",
    ),
    Mutant(
        "FNV-1 in place of FNV-1a",
        SHARDS, shards, "fnv1a32", "(digest ^ byte) * 0x01000193", "(digest * 0x01000193) ^ byte",
    ),
    Mutant(
        "a worker stands in for itself",
        PRECEDENCE, precedence.Precedence, "pause", "place = 0  #", "pass  #",
    ),
    Mutant(
        "two workers come first",
        PRECEDENCE, precedence, "comes_first", "_is_among(1,", "_is_among(2,",
    ),
    Mutant(
        "those that stand in do not hear",
        PRECEDENCE, precedence.Precedence, "numbers", "(*first, *second)", "first",
    ),
    Mutant(
        "a newcomer waits before it knows for whom",
        PRECEDENCE, precedence.Precedence, "pause", "worker_id not in self._workers or", "",
    ),
    Mutant("one shard is never used", SHARDS, shards, "shard_value", "% shard_count if", "% (shard_count - 1) if"),
)  # fmt: skip

HOSTILE = (
    Mutant("an id of the engine looks like any other", RESERVED, ids, "_reserved", "8 << 76", "7 << 76"),
    Mutant("a parent's own id is reserved", RESERVED, ids, "_reserved", "(UUID(run_id).int + 1)", "(UUID(run_id).int)"),
    Mutant("each repetition of a cancel is another one", RESERVED, ids, "cancel_id", "UUID(parent_run_id)", "uuid7()"),
    Mutant("a part that is blocked stays whole", BLOCKED, Blocked, "_try", "(len(items) + 1) // 2", "len(items)"),
    Mutant("half of a part that is blocked is forgotten", BLOCKED, Blocked, "_try", ", items[middle:])", ",)"),
)  # fmt: skip

SUSPICION = (
    Mutant(
        "suspects begin beside runs that have just begun",
        GUILT, isolation, "may_begin", "any(one.seconds < TRIAL_SECONDS for one in here)", "False",
    ),
    Mutant(
        "other runs are claimed beside a run on trial",
        GUILT, Isolation, "entered", "self._trial = run_id", "self._open()",
    ),
    Mutant(
        "a trial ends with its first neighbor",
        GUILT, Isolation, "left", "self.trial_is_over(run_id)",
        "self._trial = None\n    self._open()",
    ),
    Mutant(
        "every suspect is tried in a group",
        GUILT, suspicion, "isolation_after", "strikes < SUSPECT_STRIKES:\n        return None",
        'strikes >= SUSPECT_STRIKES:\n        return "group"\n    if strikes < SUSPECT_STRIKES:\n        return None',
    ),
    Mutant(
        "others begin beside the sole suspect",
        GUILT, isolation, "may_begin", "if soles:", "if False:",
    ),
)  # fmt: skip

_ARMED = "self._young_timers[key] = OpenedWait(key, until=until, is_timer=True)"

TIMERS_OF_ASYNCIO = (
    Mutant(
        "a timer is due by the time of the last answer",
        TIMERS, Performance, "_arm", "self.attempt.now() + timedelta", "self._machine.loop.now() + timedelta",
    ),
    Mutant(
        "a replay has a timer start over",
        TIMERS, Execution, "_take_wake", "self._waits.restart_timer(", "self._waits.start_timer(",
    ),
    Mutant(
        "overdue timers fire in the wrong order",
        TIMERS, Execution, "_take_wake", "self._elapse(wake.due)", "self._elapse(reversed(wake.due))",
    ),
    Mutant(
        "young timers are written at once",
        TIMERS, Recording, "armed", _ARMED, "self.record.entries.append(OpenedWait(key, until=until, is_timer=True))",
    ),
    Mutant("a park forgets young timers", TIMERS, Recording, "take", "if isinstance(ending, Park):", "if False:"),
    Mutant("a timer that fires young is lost", TIMERS, Recording, "answered", "if young is not None:", "if False:"),
    Mutant(
        "a timer that is cancelled young is written all the same",
        TIMERS, Recording, "abandoned", "self._young_timers.pop(key, None)", "self._young_timers.get(key)",
    ),
    Mutant(
        "timers that are cancelled at once are not counted",
        TIMERS, Calls, "_take_timers", "self._timers_armed += 1", "self._timers_armed += timer.is_armed",
    ),
    Mutant(
        "time goes back with the clock of the database",
        TIMERS, loop.ReplayLoop, "now", "max(self._told, self.clock())", "self.clock()",
    ),
    Mutant(
        "a replay forgets what time the code was told",
        TIMERS, loop.ReplayLoop, "now", "max(self._told, self.clock())", "max(self._moment, self.clock())",
    ),
    Mutant(
        "a resumed run goes by the clock of its first claim",
        TIMERS, Execution, "resume", "self._machine.loop.clock = self.attempt.now  #", "pass  #",
    ),
    Mutant(
        "a retry goes by the moments of the attempt before",
        TIMERS, Machine, "_meet", "max(self.began, memo.at)", "memo.at",
    ),
    Mutant(
        "code that turns in circles is left after a time",
        ASYNCIO, loop.ReplayLoop, "slices",
        "slices = idle = 0\n    while self._ready and idle < max_idle and",
        "slices = idle = 0\n    started = datetime.now(UTC)\n"
        "    while self._ready and (datetime.now(UTC) - started).total_seconds() < 0.01 and",
    ),
    Mutant(
        "an open timer stays if changed code no longer arms it",
        CHANGED_TIMERS, Machine, "_missed_wait",
        "self._commands[wait.key,] = Abandon(ArmTimer(wait.key, 0.0, is_open=True))", "continue",
    ),
    Mutant(
        "an open timer stays if changed code cancels it at once",
        CHANGED_TIMERS, Machine, "_missed_wait", "if wait.key not in self._pending:", "if wait.key not in self._used:",
    ),
    Mutant(
        "a timer is given up together with the one that had its number",
        CHANGED_TIMERS, Performance, "_forget", "self._recording.dropped(key)", "self._recording.abandoned(key)",
    ),
    Mutant(
        "a timer fires when the one that had its number is due",
        CHANGED_TIMERS, Execution, "_begin_on", "wake = wake.without(given_up)", "pass",
    ),
    Mutant("all runs number their tasks alike", SALT, Attempt, "machine", "salt=salt_of(claimed.run_id)", "salt=0"),
    Mutant(
        "each process numbers the tasks of a run in its own way",
        SALT, Attempt, "machine", "salt=salt_of(claimed.run_id)", "salt=id(claimed) << 16",
    ),
    Mutant("the salt rotates the order of sets", SALT, attempt, "salt_of", "<< _BITS_OF_NUMBER", "<< 1"),
)  # fmt: skip

TURNS = (
    Mutant(
        "a run parks while others have their turn",
        IN_TURNS, Execution, "_settle", "and not self.is_taking_turns and", "and",
    ),
    Mutant(
        "a run that has ended while others had their turn stays",
        IN_TURNS, Execution, "_continue",
        "if self._then is not None", "if self._ending is not None:\n        pass\n    elif self._then is not None",
    ),
    Mutant(
        "what is left for a later turn is dropped",
        IN_TURNS, Execution, "_continue", "self._perform_some()", "self._commands.clear()",
    ),
    Mutant(
        "a step that was cancelled before its turn starts",
        IN_TURNS, StepTasks, "forget", "self.startable.pop(key, None)", "pass",
    ),
)  # fmt: skip

MORE_AWAITS = (
    Mutant(
        "compensations are called in the order in which they were registered",
        CRASHES, Saga, "_undo_all", "self._undos.pop()", "self._undos.pop(0)",
    ),
    Mutant(
        "a cancel interrupts a compensation",
        CRASHES, saga, "_ended", "await asyncio.shield(answer)", "await answer",
    ),
    Mutant(
        "a cancel that comes while a saga undoes is swallowed",
        CRASHES, Saga, "_undo_all", "if cancelled is not None:", "if False:",
    ),
    Mutant(
        "a compensation that fails ends the undoing",
        CRASHES, Saga, "_undo_all", "failures.append(failure)", "failures.append(failure)\n            break",
    ),
    Mutant(
        "a saga undoes although its block has ended well",
        CRASHES, Saga, "__aexit__",
        "if error is not None and not self._calls.is_closed:\n            await self._undo_all(error)",
        "if not self._calls.is_closed:\n            await self._undo_all(error or ValueError())",
    ),
    Mutant(
        "the results of a map are in the order of their ends",
        CRASHES, _Mapping, "_item_ended", "self._outcomes[index] = answer.result()",
        "self._outcomes[self._outcomes.index(None)] = answer.result()",
    ),
    Mutant(
        "a map starts more although too many have failed",
        CRASHES, _Mapping, "_start_some", "may_start = len(self._failed) <= self._max_failures", "may_start = True",
    ),
    Mutant(
        "a map waits for all that run before it starts more",
        CRASHES, _Mapping, "_start_some", "len(self._running) < self._most_at_once",
        "len(self._running) - 1 and len(self._running) < self._most_at_once",
    ),
    Mutant(
        "the new way is taken as soon as nothing is replayed any more",
        CHANGED_TIMERS, Machine, "has_unmet", "for wait in self._history.open_waits)", "for wait in ())",
    ),
    Mutant(
        "the new way is taken whatever is recorded",
        CODE, Machine, "patched", "decided = not self.has_unmet", "decided = True",
    ),
    Mutant(
        "that a run goes the old way is not recorded",
        CRASHES, Machine, "patched", "self._commands[key] = Patch(key, decided)",
        "self._commands.update({key: Patch(key, decided)} if not decided else {})",
    ),
    Mutant(
        "a step starts before it is recorded which way the run goes",
        IN_TURNS, Machine, "take_commands", "if self._patches:", "if False:",
    ),
    Mutant(
        "a run that was cancelled may continue as new",
        CRASHES, Machine, "continue_as_new", "if self._cancelled is not None:", "if False:",
    ),
    Mutant(
        "a run that gathers events is woken by what it has seen",
        CRASHES, OpenWaits, "gathered", "for topic in topics", "for topic in ()",
    ),
    Mutant(
        "the time for more events begins anew with each worker",
        CRASHES, OpenWaits, "__init__", "if wait.is_gathering", "if False",
    ),
    Mutant(
        "the time for more events is not written",
        CRASHES, Recording, "gathering", "self.record.entries.append(", "str(",
    ),
    Mutant(
        "only the first of several events is consumed",
        CRASHES, Recording, "answered", "event_ids[1:]", "()",
    ),
    Mutant(
        "a wait for several events gives up what has come",
        CRASHES, Performance, "_time_is_over", "if isinstance(call, WaitEvents) and (events", "if False and (events",
    ),
    Mutant(
        "later waits take what an earlier one gathers",
        CRASHES, OpenWaits, "take_gathered", "next(iter(self._waiting[topic])) != call.key", "False",
    ),
    Mutant(
        "a call to send an event is recorded and nothing is sent",
        CRASHES, Recording, "step", "isinstance(call, Publish) and", "False and",
    ),
)  # fmt: skip

QUERIES = (
    QueryMutant(
        "a second answer takes the place of the first",
        REQUESTS, "flush/record_replies", "AND request.reply IS NULL", "",
    ),
    QueryMutant(
        "a zombie answers",
        REQUESTS, "flush/record_replies", "AND run.epoch = answer.epoch", "",
    ),
    QueryMutant(
        "a request that was taken is lost with its chapter",
        REQUESTS, "chapters/begin_chapters", "SET consumed_by = NULL", "SET consumed_by = event.consumed_by",
    ),
    QueryMutant(
        "an answer goes with its chapter",
        REQUESTS, "chapters/begin_chapters",
        "OR event.replied_at < mine.began_at AND event.replied_at < now() - interval '10 minutes')", "OR true)",
    ),
    QueryMutant(
        "whoever asks is not told that the run has ended",
        REQUESTS, "requests/load_replies", "THEN 'queued' ELSE run.status END AS status",
        "THEN 'queued' ELSE 'queued' END AS status",
    ),
    QueryMutant(
        "an event is found in the place of a request",
        REQUESTS, "requests/find_request", "          AND request.kind = 'request'\n", "",
    ),
    QueryMutant(
        "what was undone is kept by a retry",
        FORGETS, "routing/forget_failed_steps", "OR undone.step_key IS NOT NULL)", ")",
    ),
    QueryMutant(
        "a call is forgotten although its compensation failed",
        FORGETS, "routing/forget_failed_steps", "AND undo.kind = 'undo' AND undo.status = 'completed'",
        "AND undo.kind = 'undo'",
    ),
    QueryMutant(
        "a compensation is kept by a retry",
        FORGETS, "routing/forget_failed_steps", "memo.kind IN ('cancel', 'undo')", "memo.kind = 'cancel'",
    ),
    QueryMutant(
        "which way a run goes has a place in the order",
        DECIDED, "flush/record_patches", "'completed', true, ''", "'completed', false, ''",
    ),
    QueryMutant(
        "which way a run goes is decided again",
        DECIDED, "flush/record_patches", "DO NOTHING", "DO UPDATE SET output = excluded.output",
    ),
    QueryMutant(
        "a chapter ends under its epoch",
        CHAPTERS, "chapters/begin_chapters", "epoch = run.epoch + 1, worker_id = NULL", "worker_id = NULL",
    ),
    QueryMutant(
        "a chapter leaves its open waits behind",
        CHAPTERS, "chapters/begin_chapters", "AND wait.run_id = mine.run_id\n      AND wait.run_id = ANY",
        "AND wait.run_id = mine.run_id AND wait.satisfied_at IS NOT NULL\n      AND wait.run_id = ANY",
    ),
    QueryMutant(
        "a chapter leaves its memos behind",
        CHAPTERS, "chapters/begin_chapters", "AND step.run_id = mine.run_id\n      AND step.run_id = ANY",
        "AND step.run_id = mine.run_id AND step.status = 'failed'\n      AND step.run_id = ANY",
    ),
    QueryMutant(
        "a chapter drops what was sent to the run",
        CHAPTERS, "chapters/begin_chapters", "AND event.kind = 'child' AND event.consumed_by IS NULL",
        "AND event.consumed_by IS NULL",
    ),
    QueryMutant(
        "a chapter leaves the ends of its children behind",
        CHAPTERS, "chapters/begin_chapters", "AND event.kind = 'child' AND event.consumed_by IS NULL",
        "AND event.kind = 'retry' AND event.consumed_by IS NULL",
    ),
    QueryMutant(
        "a chapter counts the failures of the one before",
        CHAPTERS, "chapters/begin_chapters", "attempts = 0, set_asides = 0,", "set_asides = 0,",
    ),
    QueryMutant(
        "fewer memos than in the chapter before look like a crash loop",
        CHAPTERS, "chapters/begin_chapters", "memos_at_takeover = 0, isolation", "isolation",
    ),
    QueryMutant(
        "overdue timers are loaded in no order", LOADS, "claims/load_waits", "ORDER BY wake_at, created_at,", "ORDER BY"
    ),
    QueryMutant(
        "overdue timers of a resident run are loaded in no order",
        LOADS, "claims/load_open_waits", "ORDER BY wake_at, created_at, length(wait_key), wait_key", "",
    ),
    QueryMutant(
        "timers of the same time are loaded as their texts sort",
        LOADS, "claims/load_waits", "created_at, length(wait_key), wait_key", "wait_key",
    ),
    QueryMutant(
        "timers are carried over a retry",
        FORGETS, "routing/forget_failed_steps",
        "OR answered.wait_type = 'timer' AND answered.seq > ours.first_failed", "",
    ),
    QueryMutant(
        "a timer that has ended something is no failure",
        FORGETS, "routing/forget_failed_steps", "wait.wait_type = 'timer' OR wait.wait_key = ANY", "wait.wait_key = ANY"
    ),
    QueryMutant(
        "a sleep of asyncio counts as a failure",
        FORGETS, "routing/forget_failed_steps",
        "wait.timed_out AND NOT mine.was_set_aside\n", "(wait.timed_out OR wait.wait_type = 'timer')\n",
    ),
    QueryMutant(
        "a run starts although the one before it still has to wait for another",
        GENERATIONS, "successors/lock_ended", " AND run.follows IS NULL\n", "\n",
    ),
    QueryMutant(
        "what was routed before a run ended is forgotten",
        GENERATIONS, "successors/reopen_next", "consumed_by IS NULL AND routed_at IS NOT NULL", "false",
    ),
    QueryMutant(
        "what is to follow is routed although the run has ended",
        GENERATIONS, "routing/route_events",
        "AND NOT (event.kind = 'next' AND locked.status IN ('completed', 'failed', 'cancelled'))", "",
    ),
    QueryMutant(
        "all that is to follow is closed with the first",
        GENERATIONS, "successors/close_next", "\n  AND event_id = ANY (%(event_ids)s::uuid[])",
        "\n  AND %(event_ids)s::uuid[] IS NOT NULL",
    ),
    QueryMutant(
        "events move to the next run without what is to happen if that does not read them either",
        GENERATIONS, "successors/move_events", "OR event.kind = 'next'", "OR false",
    ),
)  # fmt: skip

STATUSES = (
    Mutant(
        "of two statuses the first one stays",
        CRASHES, Calls, "set_status", "self._commands[SetStatus] = SetStatus(text)",
        "self._commands.setdefault(SetStatus, SetStatus(text))",
    ),
    Mutant(
        "a status that is set at the end is lost",
        CRASHES, Machine, "_last_of",
        "isinstance(one, Effect)", 'isinstance(one, Effect) and type(one).__name__ != "SetStatus"',
    ),
)  # fmt: skip

TRIES = (
    Mutant(
        "the tries of a step are not counted",
        CRASHES, StepTries, "failed", "failures=tries.failures + 1", "failures=1",
    ),
    Mutant(
        "the first failed try of a step is not recorded",
        CRASHES, Recording, "tried", "self.record.entries[place : place + 1] = [entry]",
        "self.record.entries[place : place + 1] = [entry] if tries.failures != 1 else []",
    ),
    Mutant(
        "the tries of a step stay after its answer",
        CRASHES, Recording, "tries_are_over", "if not is_deleted:", "if False:",
    ),
    Mutant(
        "the tries of a step stay after it was given up",
        CRASHES, Performance, "_forget", "elif (tries := self._tries.over(key)) is not None:", "elif False:",
    ),
    Mutant(
        "a step is tried again before it is due",
        CRASHES, Execution, "_try_again", "call.key, failed.delay,", "call.key, failed.delay / 2,",
    ),
    Mutant(
        "a step whose worker has died is tried again at once",
        CRASHES, Performance, "_call", "self._waits.open(call)", "self._steps.defer(call)",
    ),
    Mutant(
        "a step that is due is not tried again",
        CRASHES, Performance, "_time_is_over", "self._steps.defer(call)", "pass",
    ),
    Mutant(
        "a run that a failing step keeps waiting shows nothing",
        CRASHES, Recording, "tried",
        "self.record.shown_error = still_failing(call.key, tries).text", "pass",
    ),
    Mutant(
        "a step that may be called at most once is called without a mark",
        CRASHES, Performance, "_call",
        "self._recording.tried(call, self._tries.begins(call, self.attempt.now()), None)", "pass",
    ),
    Mutant(
        "the mark of an interrupted call is ignored",
        CRASHES, Performance, "_call", "elif call.is_at_most_once:", "elif False:",
    ),
)  # fmt: skip

HOLDS = (
    Mutant(
        "a cancel does not wait for children",
        CRASHES, Steering, "_end_hold",
        "self._waits.held_children() if self._machine.may_be_cancelled else ()", "()",
    ),
    Mutant(
        "children are dismissed before they have ended",
        CRASHES, Steering, "_end_hold", "is_awaited=True", "is_awaited=False",
    ),
    Mutant(
        "the end of a child comes before the cancel that asked for it",
        CRASHES, Performance, "_may_answer", "and not self._is_beginning", "",
    ),
    Mutant(
        "a deadline that is held is forgotten by the next worker",
        CRASHES, Execution, "_go_on", "if self._is_late and self._waits.held_children():", "if False:",
    ),
    Mutant(
        "a run that fails has no sequel",
        CRASHES, Execution, "take_record", "self.sequel(ending) if isinstance(ending, Settle) else None", "None",
    ),
    Mutant(
        "every failed attempt has a sequel",
        CRASHES, Execution, "sequel", "if ending.is_terminal else None", "",
    ),
)  # fmt: skip

ASKED = (
    Mutant(
        "an event is taken for a request",
        CRASHES, Inbox, "add", '(event.kind, event.event_id if', '("event", event.event_id if',
    ),
    Mutant(
        "a reply is not recorded",
        CRASHES, Recording, "step", "elif isinstance(call, Reply):", "elif isinstance(call, Reply) and not seq % 2:",
    ),
    Mutant(
        "a reply is lost with what awaits it",
        CRASHES, Request, "_answer", "asyncio.shield(self._calls.call(reply))", "asyncio.sleep(0)",
    ),
)  # fmt: skip

REQUESTS_OF_CLIENTS = (
    Mutant(
        "a request that is there already is not announced",
        REQUESTS, RequestOperations, "ask", "if asked is not None:\n",
        "if asked is not None and asked.request_id != sent.event_id:\n            return asked\n"
        "        if asked is not None:\n",
    ),
)  # fmt: skip

STANDSTILLS = (
    Mutant(
        "a run that is to pause parks",
        CRASHES, execution, "ending_when_quiet", "if is_paused:", "if is_paused and not are_waits_open:",
    ),
)  # fmt: skip

MUTANTS = (
    *ASKED,
    *HOLDS,
    *STANDSTILLS,
    *REPLAY,
    *EXECUTION,
    *DECISIONS,
    *HOSTILE,
    *SUSPICION,
    *TIMERS_OF_ASYNCIO,
    *TURNS,
    *STATUSES,
    *TRIES,
    *MORE_AWAITS,
)
