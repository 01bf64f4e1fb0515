"""The laws of replay: each takes what was drawn and raises ``AssertionError`` where it does not hold."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

from hypothesis import strategies as st
from msgspec.structs import replace

from durable.core.replay.commands import Abandon, Call, SetAside
from durable.core.replay.history import History
from durable.core.replay.numbered import salt_of
from durable.worker.run import performing, step_tasks
from tests.laws.case import Case
from tests.laws.programs import Block, Interpreter, Leaf, Node, Trace, confluent_programs, machine_of, timed_programs
from tests.laws.programs import programs as all_programs
from tests.laws.promises import was_terminated
from tests.laws.reference import judge
from tests.laws.tables import RUN_ID, Tables, moment_at
from tests.laws.world import World

moments = st.frozensets(st.integers(1, 60), max_size=6)


def cases(programs: st.SearchStrategy[Node] | None = None) -> st.SearchStrategy[Case]:
    return st.builds(
        Case,
        program=all_programs() if programs is None else programs,
        seed=st.integers(0, 2**32),
        crashes=moments,
        stops=st.just(frozenset()) | moments,
        jumps=st.just(frozenset()) | st.just(frozenset()) | moments,
        request_at=st.none() | st.integers(1, 40),
        request=st.sampled_from(("cancel", "cancel", "terminate")),
        pauses=st.just(frozenset()) | st.just(frozenset()) | moments,
        resumes=st.just(frozenset()) | moments,
        deadline=st.none() | st.sampled_from((0.5, 1.5, 2.5)),
        max_attempts=st.sampled_from((1, 1, 2, 3)),
        chapters=st.sampled_from((1, 1, 1, 2, 3)),
    )


def a_run_is_what_its_history_says(case: Case) -> World:
    """Whatever crashes when: the run ends as the same program does on a stock loop, answered in the recorded order."""
    world = World(case)
    world.run()
    _the_end_is_that_of_a_stock_loop(world, case.program)
    return world


def a_run_that_takes_turns_is_what_its_history_says(case: Case) -> World:
    """The same if the run lets others have their turn after every command, every answer and every step it starts."""
    with patch.object(performing, "_A_TURN", 1), patch.object(step_tasks, "_STARTED_AT_ONCE", 1):
        return a_run_is_what_its_history_says(case)


def _the_end_is_that_of_a_stock_loop(world: World, program: Node) -> None:
    tables = world.tables
    if not was_terminated(tables):
        # A transaction whose commit met the end has a memo that the run has never seen.
        seen = tuple(memo for memo in tables.memos.values() if memo.seq is not None or memo.carried)
        assert tables.began_at is not None
        verdict = judge(program, History(seen), moment_at(tables.began_at), salt_of(RUN_ID))
        assert verdict is not None
        assert verdict.ending == ending_of(tables)
        assert verdict.trace == world.trace


def ending_of(tables: Tables) -> tuple[str, str]:
    if tables.status == "completed":
        assert tables.output is not None
        return "completed", tables.output
    assert tables.error is not None
    return tables.status, f"{tables.error.type}: {tables.error.message}"


def every_single_crash_changes_nothing(case: Case) -> None:
    """The worker dies once, before or after each of its writes in turn."""
    for moment in range(1, World(case).count_moments() + 1):
        a_run_is_what_its_history_says(replace(case, crashes=frozenset((moment,))))


def confluent_cases() -> st.SearchStrategy[tuple[Node, int, frozenset[int]]]:
    return st.tuples(confluent_programs(), st.integers(0, 2**32), moments)


def crashes_and_order_change_no_result(program: Node, seed: int, crashes: frozenset[int]) -> None:
    """A program without races gives with any crashes, in any order of answers, what it gives undisturbed."""
    undisturbed = World(Case(program=program, seed=0, drawn_from=seed)).run()
    disturbed = World(Case(program=program, seed=seed, crashes=crashes, drawn_from=seed)).run()
    assert ending_of(undisturbed) == ending_of(disturbed)
    assert told(undisturbed) == told(disturbed)


def told(tables: Tables) -> dict[str, tuple[str, str]]:
    """All memos but for their order, and for what is new in every world: payloads, the ids of children, and which timer
    has which number."""
    timers = sum(memo.kind == "timer" for memo in tables.memos.values())
    return {
        "timers": ("", str(timers)),
        **{
            key: (memo.kind, str(memo.outcome) if memo.kind in ("execute", "transaction", "now", "random") else "")
            for key, memo in tables.memos.items()
            if memo.kind != "timer"
        },
    }


def edits() -> st.SearchStrategy[tuple[Case, int, Node]]:
    """A case, the moment at which the worker dies, and the program that the next one has."""
    return _edits(all_programs())


def edits_of_timers() -> st.SearchStrategy[tuple[Case, int, Node]]:
    """The same with programs of which most calls are timers."""
    return _edits(timed_programs())


def _edits(programs: st.SearchStrategy[Node]) -> st.SearchStrategy[tuple[Case, int, Node]]:
    return st.tuples(cases(programs), st.integers(2, 30), programs).flatmap(
        lambda drawn: st.tuples(st.just(drawn[0]), st.just(drawn[1]), edited(drawn[0].program, drawn[2]))
    )


def edited(program: Node, other: Node) -> st.SearchStrategy[Node]:
    """The program with one part dropped, doubled, replaced, or moved; or with the step function of a leaf renamed."""
    if isinstance(program, Leaf):
        return st.sampled_from((Leaf("other"), Leaf("sleep"), Leaf("random"), other, Block("seq", (program, other))))
    parts, how = program.parts, program.how
    within = [edited(part, other).map(partial(_with_part, program, index)) for index, part in enumerate(parts)]
    whole = st.sampled_from(
        (
            *parts,
            Block(how, parts[::-1]),
            Block(how, (*parts, other)),
            Block(how, (other, *parts)),
            Block("gather", parts),
        )
    )
    return st.one_of(whole, *within)


def _with_part(block: Block, index: int, part: Node) -> Node:
    return Block(block.how, (*block.parts[:index], part, *block.parts[index + 1 :]))


def changed_code_goes_on_or_is_set_aside(case: Case, moment: int, program: Node) -> bool:
    """Code that meets another's history does what it would do with it on a stock loop, or nothing at all. Returns
    whether it was set aside."""
    world = World(case)
    history = world.history_at(moment)
    began, salt = moment_at(world.tables.began_at or 0.0), salt_of(RUN_ID)
    verdict = judge(program, history, began, salt, may_differ=True)
    trace: Trace = []
    machine = machine_of(lambda ctx: Interpreter(ctx, trace).run(program), history, began, salt)
    try:
        commands = machine.start()
        if verdict is None:
            assert [type(command) for command in commands] == [SetAside], f"{commands} follow a mismatch"
            return True
        assert trace == verdict.trace
        assert not any(isinstance(command, SetAside) for command in commands), commands
        if verdict.ending is None:
            asked = {command.key for command in commands if isinstance(command, Call)}
            assert asked == set(verdict.asked)
            given_up = {command.call.key for command in commands if isinstance(command, Abandon)}
            for wait in history.open_waits:
                assert (wait.key in asked) != (wait.key in given_up), f"{wait} stays open, but {commands}"
        else:
            assert not any(isinstance(command, Call) for command in commands)
    finally:
        machine.close()
    if not world.tables.is_ended:
        world.change_code(program)
        world.run()
        if world.tables.is_ended:  # else it was set aside when it came to what a retry had kept
            _the_end_is_that_of_a_stock_loop(world, program)
    return False
