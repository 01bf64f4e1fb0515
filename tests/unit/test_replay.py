"""The law of replay, over generated workflows: whatever crashes when, the run goes on as if nothing had happened."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from durable import Context
from durable.core.commands import Complete, EndCancelled, Fail, SetAside
from durable.core.history import Cancel
from tests.unit.programs import Ended, World, failing_keys, interpret, machine_of, programs


def ending_text(ending: Ended) -> str:
    match ending:
        case Complete(output):
            return output
        case Fail(error, _):
            return f"{error.type}: {error.message}"
        case EndCancelled(cancel, error):
            return f"cancelled: {cancel.reason}, {error and error.type}"
        case SetAside(error):
            raise AssertionError(f"deterministic code was set aside: {error}")


@settings(max_examples=300, deadline=None)
@given(
    programs(),
    st.integers(0, 2**32),
    st.sets(st.integers(1, 40), max_size=8),
    st.none() | st.integers(1, 20),
)
def test_a_crash_at_any_moment_changes_nothing_but_the_number_of_attempts(
    program: Any, seed: int, crash_at: set[int], cancel_at: int | None
) -> None:
    async def main(ctx: Context) -> Any:
        return await interpret(ctx, program, "p")

    world = World(main, failing_keys(program), seed, crash_at, cancel_at)
    ending = ending_text(world.run())

    uninterrupted = machine_of(main, type(world.history())())
    commands = uninterrupted.start()
    for memo in world.history().in_order():
        if memo.kind == "cancel":
            commands = uninterrupted.cancel(Cancel.of(memo))[1] or commands
        else:
            commands = uninterrupted.resolve(memo.key, memo.outcome)[1] or commands
    assert ending_text(commands[-1]) == ending  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(
    programs(),
    st.integers(0, 2**32),
    st.sets(st.integers(1, 40), max_size=8),
    st.none() | st.integers(1, 20),
)
def test_replaying_a_finished_history_asks_for_nothing_and_ends_the_same(
    program: Any, seed: int, crash_at: set[int], cancel_at: int | None
) -> None:
    async def main(ctx: Context) -> Any:
        return await interpret(ctx, program, "p")

    world = World(main, failing_keys(program), seed, crash_at, cancel_at)
    ending = ending_text(world.run())

    for _ in range(2):
        commands = machine_of(main, world.history()).start()
        assert ending_text(commands[-1]) == ending  # type: ignore[arg-type]
        assert not [command for command in commands[:-1] if hasattr(command, "key") and command.key in world.memos]
