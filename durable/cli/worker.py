"""`durable worker`: what one worker process does."""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, cast

import click
import msgspec

from durable.cli.options import Target, on_database
from durable.cli.processes import supervise
from durable.core.errors import InvalidArgument
from durable.core.replay.workflow import Workflow
from durable.embedded import database
from durable.worker import Worker

_YOUNG_OBJECTS = 20_000
"""How many new objects the garbage collector examines at once: about as many as a batch of runs makes, and most of
those runs have ended by then."""


@click.command()
@click.argument("workflows", nargs=-1, required=True, metavar="MODULE:ATTRIBUTE...")
@click.option("--processes", type=int, default=1, show_default=True, help="How many worker processes to run.")
@on_database
def worker(target: Target, workflows: tuple[str, ...], processes: int) -> None:
    """Run a worker until it is stopped. Each argument names a workflow, or a list of workflows."""
    if processes < 1:
        raise InvalidArgument("--processes", processes, "at least 1")
    with database(target.dsn) as dsn:
        order = Order(dsn, target.schema, workflows)
        if processes == 1:
            work(order)
        else:
            load(order.workflows)  # so that a bad name is refused here, and only once
            supervise(work, order, processes)


class Order(msgspec.Struct, frozen=True):
    """What each process does. ``workflows`` are given as ``module:attribute``."""

    dsn: str
    schema: str
    workflows: tuple[str, ...]


def work(order: Order) -> None:
    """Runs a worker in this process until it is stopped, on uvloop if that is installed."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s")
    worker = Worker(order.dsn, load(order.workflows), schema=order.schema)
    # What is loaded now stays loaded, and nothing that a run leaves behind is a cycle.
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(worker.run())


def load(names: Sequence[str]) -> list[Workflow[object, object]]:
    """Returns the workflows with those names. Modules are also looked for in the working directory, unless Python was
    told to leave it out (``-P``, ``-I``, ``PYTHONSAFEPATH``). Raises ``InvalidArgument``."""
    if os.getcwd() not in sys.path and not sys.flags.safe_path:
        sys.path.insert(0, os.getcwd())
    return [workflow for name in names for workflow in _load(name)]


def _load(name: str) -> list[Workflow[object, object]]:
    module, _, attribute = name.partition(":")
    try:
        imported = importlib.import_module(module)
        found = getattr(imported, attribute) if attribute else None
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidArgument("module:attribute", name, f"something that can be imported ({error})") from None
    if not attribute:
        raise InvalidArgument("module:attribute", name, f"a module and one of its attributes{_example(imported)}")
    workflows: list[Any] = list(cast(list[Any], found)) if isinstance(found, list | tuple) else [found]
    if not workflows or not all(isinstance(workflow, Workflow) for workflow in workflows):
        raise InvalidArgument("module:attribute", name, "one @workflow function, or a list of them")
    return workflows


def _example(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Workflow)]
    return f", such as {module.__name__}:{names[0]}" if names else ""


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop") is None:
        return None
    return cast(Callable[[], asyncio.AbstractEventLoop], importlib.import_module("uvloop").new_event_loop)
