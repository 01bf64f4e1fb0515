"""What the application does with each workflow of the workload."""

from __future__ import annotations

import contextlib

from durable import RunNotCancellable, RunNotRetryable, RunTerminal
from tests.faults.load import Family, Life
from tests.faults.timing import Race, Timing, timing
from tests.faults.workload import (
    Bearing,
    Branches,
    Breaking,
    Chapters,
    Deciding,
    Effects,
    Leaf,
    Listening,
    Nap,
    Told,
    Transfer,
    Trying,
    compensating,
    continuing,
    deciding,
    effects,
    failing,
    listening,
    parallel,
    parent,
    sleepy,
    transfer,
    trying,
)

_ACCOUNTS = 32


def _transfer(life: Life) -> Transfer:
    source, target = life.random.sample(range(_ACCOUNTS), 2)
    return Transfer(life.number(), source, target, life.random.randint(1, 50))


async def _one_transfer(life: Life) -> None:
    run_key = await life.begin(transfer, _transfer(life))
    if run_key is not None:
        await life.load.ended(run_key)


async def _several_transfers(life: Life) -> None:
    for run_key in await life.begin_many(transfer, [_transfer(life) for _ in range(3)]):
        await life.load.ended(run_key)


async def _effects(life: Life) -> None:
    order = Effects(life.number(), life.random.randint(1, 6), life.random.choice((0.0, 0.0, 0.02)))
    run_key = await life.begin(effects, order)
    if run_key is not None:
        await life.load.ended(run_key)


async def _nap(life: Life) -> None:
    run_key = await life.begin(sleepy, Nap(life.number(), life.random.uniform(0.0, 1.0)))
    if run_key is not None:
        await life.load.ended(run_key)


async def _listening(life: Life) -> None:
    names = [life.random.choice("ab") for _ in range(life.random.randint(1, 4))]
    run_key = await life.begin(listening, Listening(life.number(), names), is_plain=True)
    assert run_key is not None
    published: dict[str, int] = {}
    for name in life.random.sample(names, len(names)):
        await life.pause(0.1)
        index = published.get(name, 0)
        published[name] = index + 1
        await life.publish_event(run_key, name, Told(name, index))
    await life.load.ended(run_key)


async def _deciding(life: Life) -> None:
    order = Deciding(life.number(), life.random.uniform(0.1, 0.8))
    run_key = await life.begin(deciding, order, is_plain=True)
    assert run_key is not None
    if life.random.random() < 0.7:
        await life.pause(2 * order.timeout)
        try:
            await life.publish_event(run_key, "decide", f"decided {order.number}")
        except RunTerminal:
            pass  # it had timed out
    await life.load.ended(run_key)


async def _timing(life: Life) -> None:
    def race() -> Race:
        patience = life.random.uniform(0.02, life.random.choice((0.2, 1.2)))
        return Race(life.random.choice(("step", "event")), life.random.uniform(0.0, 0.3), patience)

    order = Timing(
        life.number(),
        life.random.uniform(0.01, 0.8),
        life.random.uniform(0.01, 1.0),
        [race() for _ in range(life.random.randint(1, 3))],
    )
    run_key = await life.begin(timing, order, is_plain=True)
    assert run_key is not None
    for index, each in enumerate(order.races):
        await life.pause(order.nap + each.patience)
        if each.of == "event":
            with contextlib.suppress(RunTerminal):  # all of its races had timed out
                await life.publish_event(run_key, "news", f"news {index}")
    await life.load.ended(run_key)


async def _branches(life: Life) -> None:
    order = Branches(life.number(), life.random.randint(1, 4), life.random.random() < 0.5)
    run_key = await life.begin(parallel, order)
    if run_key is not None:
        await life.load.ended(run_key)


async def _compensating(life: Life) -> None:
    run_key = await life.begin(compensating, _transfer(life), is_plain=True)
    assert run_key is not None
    acts = life.random.choice((("go",), ("cancel",), ("go", "cancel"), ("cancel", "go")))
    for act in acts:
        await life.pause(0.3)
        try:
            if act == "go":
                await life.publish_event(run_key, "go", "go")
            else:
                await life.load.surely(lambda: life.client.cancel_run(run_key, "changed my mind"))
        except (RunTerminal, RunNotCancellable):
            pass  # the other act was quicker
    await life.load.ended(run_key)


async def _trying(life: Life) -> None:
    order = Trying(life.number(), life.random.randint(0, 3), life.random.choice((0.01, 0.3, 1.2)))
    run_key = await life.begin(trying, order)
    if run_key is not None:
        await life.load.ended(run_key)


async def _continuing(life: Life) -> None:
    order = Chapters(life.number(), life.random.randint(1, 3), life.random.randint(1, 5))
    run_key = await life.begin(continuing, order)
    if run_key is not None:
        await life.load.ended(run_key)


async def _failing(life: Life) -> None:
    order = Breaking(life.number(), life.random.random() < 0.5)
    run_key = await life.begin(failing, order, is_plain=True)
    assert run_key is not None
    is_remedied = False
    while await life.load.ended(run_key) == "failed" and life.random.random() < 0.7:
        if not is_remedied:
            await life.load.surely(lambda: remedy(life, order.number))
            is_remedied = True
        try:
            await life.load.surely(lambda: life.client.retry_run(run_key))
        except RunNotRetryable:
            pass  # it has been queued by a request whose confirmation was lost


async def remedy(life: Life, number: int) -> None:
    """Mends what makes that run fail."""
    async with life.load.connection() as connection:
        await connection.execute("INSERT INTO remedies (number) VALUES (%s) ON CONFLICT DO NOTHING", (number,))


async def _parent(life: Life) -> None:
    children = [Leaf(life.random.choice(("well", "well", "fails"))) for _ in range(life.random.randint(1, 2))]
    nested = Bearing(None, [Leaf("well"), Leaf("fails")]) if life.random.random() < 0.3 else None
    run_key = await life.begin(parent, Bearing(life.number(), children, nested))
    if run_key is not None:
        await life.load.ended(run_key)


async def _cancelled_parent(life: Life) -> None:
    order = Bearing(life.number(), [Leaf("well"), Leaf("waits")])
    if life.random.random() < 0.3:
        order = Bearing(order.number, [Leaf("well")], nested=Bearing(None, [Leaf("waits")]))
    run_key = await life.begin(parent, order, is_plain=True)
    assert run_key is not None
    await life.pause(0.5)
    with contextlib.suppress(RunNotCancellable):  # a try whose outcome was in doubt had done it
        await life.load.surely(lambda: life.client.cancel_run(run_key, "no children any more"))
    await life.load.ended(run_key)


FAMILIES = [
    Family("transfer", 3, _one_transfer),
    Family("transfers", 1, _several_transfers),
    Family("effects", 3, _effects),
    Family("sleepy", 2, _nap),
    Family("listening", 2, _listening),
    Family("deciding", 2, _deciding),
    Family("timing", 2, _timing),
    Family("parallel", 2, _branches),
    Family("compensating", 2, _compensating),
    Family("continuing", 2, _continuing),
    Family("trying", 2, _trying),
    Family("failing", 1, _failing),
    Family("parent", 1, _parent),
    Family("cancelled parent", 1, _cancelled_parent),
]
