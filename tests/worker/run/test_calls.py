"""How steps are called: with arguments by name, and with the options that a call has."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
import pytest

from durable import AsyncClient, Call, Context, InvalidArgument, RetryPolicy, StepFailed, Worker, workflow
from durable.core.replay.commands import Execute
from durable.core.replay.history import History
from tests.laws.programs import Main, machine_of
from tests.watching import reached, rows
from tests.worker.flows import running


class Order(msgspec.Struct):
    lines: list[str]


async def charge(order: Order, *, amount: int, currency: str = "EUR") -> str:
    order.lines.append("charged")
    return f"{len(order.lines)} lines, {amount} {currency}"


def refund(order: Order, amount: int) -> str:
    return f"{len(order.lines)} lines, {amount} back"


async def count(tx: psycopg.AsyncConnection[Any], table: str, *, least: int) -> bool:
    cursor = await tx.execute("SELECT count(*) >= %s FROM durable.runs WHERE workflow_name = %s", [least, table])
    return bool((await cursor.fetchall())[0][0])


async def anything(**named: int) -> dict[str, int]:
    return named


async def test_arguments_can_be_passed_by_name_to_steps_of_every_kind(database: str) -> None:
    @workflow
    async def naming(ctx: Context) -> list[Any]:
        order = Order(["one"])
        return [
            await ctx.execute("charge", charge, order, amount=3, currency="USD"),
            await ctx.execute("default", charge, order=order, amount=4),
            await ctx.execute("thread", refund, order, amount=5),
            await ctx.transaction("count", count, "naming", least=1),
            await ctx.execute("anything", anything, retry=1, key=2),
            order.lines,  # what a step changes in its arguments is not seen
        ]

    async with AsyncClient(database) as client, Worker(database, [naming]):
        handle = await client.begin(naming)
        assert await handle.result(timeout=20) == [
            "2 lines, 3 USD",
            "2 lines, 4 EUR",
            "1 lines, 5 back",
            True,
            {"retry": 1, "key": 2},
            ["one"],
        ]
    inputs = await rows(database, "SELECT step_key, input FROM durable.steps WHERE step_key IN ('charge', 'count')")
    assert dict(inputs) == {
        "charge": [{"lines": ["one"]}, {"amount": 3, "currency": "USD"}],
        "count": ["naming", {"least": 1}],
    }


async def test_a_second_try_finds_named_arguments_as_the_first_one_did(database: str) -> None:
    seen: list[list[str]] = []

    async def spoil(*, order: Order) -> None:
        seen.append(list(order.lines))
        order.lines.clear()
        raise ValueError("spoilt")

    @workflow
    async def spoiling(ctx: Context) -> None:
        with pytest.raises(StepFailed, match="spoilt"):
            await ctx.execute(Call("spoil", retry=RetryPolicy(max_retries=1, backoff=0)), spoil, order=Order(["one"]))

    async with AsyncClient(database) as client, Worker(database, [spoiling]):
        await (await client.begin(spoiling)).result(timeout=20)
    assert seen == [["one"], ["one"]]


async def test_a_function_can_be_renamed_if_its_calls_have_a_name(database: str) -> None:
    async def charge_card() -> str:
        return "by card"

    async def charge_any_way() -> str:
        return "in any way"

    async def pay_by_card(tx: psycopg.AsyncConnection[Any]) -> str:
        return "paid by card"

    async def pay_in_any_way(tx: psycopg.AsyncConnection[Any]) -> str:
        return "paid in any way"

    @workflow(name="shop")
    async def old(ctx: Context) -> list[str]:
        answers = [await ctx.execute(Call("charge", name="charge"), charge_card)]
        answers.append(await ctx.transaction(Call("pay", name="pay"), pay_by_card))
        await ctx.wait_for_event("go", "go")
        return answers

    @workflow(name="shop")
    async def new(ctx: Context) -> list[str]:
        answers = [await ctx.execute(Call("charge", name="charge"), charge_any_way)]
        answers.append(await ctx.transaction(Call("pay", name="pay"), pay_in_any_way))
        await ctx.wait_for_event("go", "go")
        return answers

    async with AsyncClient(database) as client:
        async with running(database, old):
            handle = await client.begin(old)
            await reached(client, handle.run_key, "waiting_event")
        await handle.publish_event("go")
        async with running(database, new):
            assert await handle.result(timeout=20) == ["by card", "paid by card"]
    assert await rows(database, "SELECT fn FROM durable.steps ORDER BY seq") == [("charge",), ("pay",)]


def refusal_of(main: Main) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as refused:
        machine = machine_of(main, History())
        machine.start()
        machine._main.result()
    return refused.value


def test_an_option_that_is_passed_as_an_argument_is_refused_with_the_right_way() -> None:
    async def main(ctx: Context) -> Any:
        return await ctx.execute("refund", refund, Order([]), amount=1, retry=RetryPolicy())  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]

    refused = refusal_of(main)
    assert refused.argument == "retry"
    assert "a parameter of refund (an option of the call goes into its key: Call(key, retry=…))" in str(refused)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"key": ""}, "key"),
        ({"key": "x" * 201}, "key"),
        ({"key": "a", "name": ""}, "name"),
        ({"key": "a", "retry": 3}, "retry"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Call(**options)
    assert refused.value.argument == argument


def test_a_plain_key_and_a_call_without_options_ask_for_the_same() -> None:
    async def plain(ctx: Context) -> Any:
        return await ctx.execute("charge", charge, Order([]), amount=1)

    async def with_call(ctx: Context) -> Any:
        return await ctx.execute(Call("charge"), charge, Order([]), amount=1)

    commands = [machine_of(main, History()).start() for main in (plain, with_call)]
    asked = [(one.key, one.name, one.retry, one.kwargs) for (one,) in commands if isinstance(one, Execute)]
    assert asked == [("charge", "charge", RetryPolicy(), {"amount": 1})] * 2
