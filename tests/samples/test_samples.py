"""Each sample does what it promises; none is longer than sixty lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

from tests.samples import (
    agent_inbox,
    agent_loop,
    changed_code,
    context_propagation,
    dag_and_map,
    dependency_injection,
    dsl,
    entity,
    external_storage,
    heartbeats,
    host_specific_steps,
    messages,
    on_failure,
    paused_copy,
    polling,
    resource_pool,
    retries_across_a_kill,
    schedules,
    scheduling_tasks,
    sleep_for_days,
    steered_queue,
    sync_or_async,
    updatable_timer,
    widget_store,
)
from tests.watching import rows

FOLDER = Path(__file__).parent
SAMPLES = sorted(path for path in FOLDER.glob("*.py") if path.name not in ("__init__.py", Path(__file__).name))
MOST_LINES = 60

T = TypeVar("T")


async def in_time(sample: Awaitable[T]) -> T:
    async with asyncio.timeout(60):
        return await sample


async def test_an_import_goes_on_where_the_last_try_was(database: str) -> None:
    assert await in_time(heartbeats.main(database)) == "Ada, Grace, Edsger, Barbara, Donald in 2 tries"


async def test_a_conversation_is_one_run_in_several_chapters(database: str) -> None:
    conversation, last_answer, chapter = await in_time(entity.main(database))
    assert conversation == entity.Conversation(7, "tea, milk, sugar, cake, plates, spoons, napkins")
    assert last_answer == "napkins? Well, you said tea, milk, sugar, cake, plates, spoons"
    assert chapter == 3


async def test_a_resource_is_used_by_one_run_at_a_time(database: str) -> None:
    outcomes = await in_time(resource_pool.main(database))
    assert len(outcomes) == 6
    assert set(outcomes) == {"red", "blue"}
    for resource in ("red", "blue"):
        turns = [what for used, what in resource_pool.used if used == resource]
        assert [turn.removesuffix(" ends") + " begins" for turn in turns[1::2]] == turns[::2]


async def test_a_service_is_polled_often_now_and_then_and_in_chapters(database: str) -> None:
    outcomes = await in_time(polling.main(database))
    assert outcomes == ["ready after 5 calls", "ready after 2 calls", "ready after 8 calls"]


async def test_a_newsletter_is_sent_until_it_is_enough(database: str) -> None:
    received, outcome = await in_time(sleep_for_days.main(database))
    assert received == ["newsletter 1", "newsletter 2", "newsletter 3"]
    assert outcome.startswith("ended after")


async def test_a_timer_is_moved_while_it_runs(database: str) -> None:
    assert await in_time(updatable_timer.main(database)) == "woke up after 2 changes"


async def test_a_run_is_asked_and_told(database: str) -> None:
    before, reason, shown, greeted = await in_time(messages.main(database))
    assert (before, reason, shown) == (["English", "French"], "nobody speaks Klingon", "Arabic")
    assert greeted == "مرحبا بالعالم (Ada)"


async def test_a_checkout_answers_before_it_has_ended(database: str) -> None:
    is_one_page_an_order, ends, stock = await in_time(widget_store.main(database))
    assert is_one_page_an_order
    assert (ends, stock) == (["shipped", "cancelled"], {"widget": 1})


async def test_a_copy_is_paused_and_goes_on_where_it_was(database: str) -> None:
    shown, meanwhile, outcome = await in_time(paused_copy.main(database))
    assert shown == f"{len(meanwhile)} of 8"
    assert (len(meanwhile) < 8, outcome) == (True, "mirrored")
    assert paused_copy.copied == [f"file-{number}" for number in range(8)]


async def test_a_paused_queue_sends_nothing_and_jobs_are_moved_in_it(database: str) -> None:
    assert await in_time(steered_queue.main(database)) == ([], ["now", "tomorrow"], "sleeping")


async def test_old_and_new_runs_end_under_the_changed_code(database: str) -> None:
    old, new = await in_time(changed_code.main(database))
    assert old == ["Hello, Ada", "by version 1"]
    assert new == ["Congratulations, Grace", "Hello, Grace", "by version 2"]


async def test_kills_of_workers_add_no_call(database: str, tmp_path: Path) -> None:
    shown = await in_time(retries_across_a_kill.main(database, tmp_path / "log"))
    assert (tmp_path / "log").read_text().splitlines() == [f"try {number}" for number in range(1, 6)]
    down = "ConnectionError: the service is down"
    assert shown == [
        f"sleeping: step 'call' failed in try 1 and will be tried again: {down}",
        f"sleeping: step 'call' failed in try 2 and will be tried again: {down}",
        f"step 'call' failed: {down}",
    ]


async def test_a_file_is_read_on_the_host_that_has_it(database: str) -> None:
    for number, read in enumerate(await in_time(host_specific_steps.main(database))):
        hosts = read.removeprefix(f"page-{number}.example, ")
        assert hosts in [f"fetched by {host}, read on {host}" for host in ("alpha", "beta")]


async def test_headers_and_context_variables_reach_children_and_threads(database: str) -> None:
    assert await in_time(context_propagation.main(database)) == "tea for Ada"
    whom = "for Ada of Analytical Engines"
    assert context_propagation.audit == [f"reserved tea {whom}", f"packed tea {whom}"]


async def test_a_request_is_answered_at_once_or_by_mail(database: str) -> None:
    answers = await in_time(sync_or_async.main(database))
    assert answers == [
        "the file that took 0.0 s",
        "we will mail it",
        "to ada@example.org: the file that took 1.5 s",
    ]


async def test_reminders_end_with_the_payment_or_the_account(database: str) -> None:
    begun, outcomes = await in_time(scheduling_tasks.main(database))
    assert begun == [True, True, False]
    assert outcomes == ["paid, reminders: 1", "closed"]
    unpaid = [mail for mail in scheduling_tasks.mails if mail.startswith("invoice 2")]
    assert unpaid == [*(f"invoice 2: reminder {number}" for number in (1, 2, 3)), "invoice 2: closed"]


async def test_an_agent_acts_only_if_it_may(database: str) -> None:
    questions, outcomes, left = await in_time(agent_inbox.main(database))
    assert questions == ["May I book the flight?", "May I delete the database?"]
    assert outcomes == ["done", "dropped"]
    assert agent_inbox.done == ["book the flight"]
    assert left == 0


async def test_an_agent_calls_tools_until_it_knows(database: str) -> None:
    assert await in_time(agent_loop.main(database)) == "By the Eiffel Tower, it is 18 degrees Celsius in Paris."


async def test_a_graph_is_awaited_and_a_map_goes_on_after_a_failure(database: str) -> None:
    analyzed, (pages, unread) = await in_time(dag_and_map.main(database))
    assert analyzed == "All is well (positive; All)"
    assert pages == [f"All is well at page-{number}.example" for number in range(20) if number != 7]
    assert unread == ["page-7.invalid"]


async def test_somebody_hears_of_every_failure(database: str) -> None:
    assert await in_time(on_failure.main(database)) == [
        "broke: StepFailed",
        "broke: given up in attempt 2",
        "rich: here is your receipt",
        "slow: RunTimeout",
    ]


async def test_schedules_are_changed_paused_triggered_and_filled_in(database: str) -> None:
    schedule, triggered, *others = await in_time(schedules.main(database))
    assert schedule == "sales report @every 3600s, paused"
    assert triggered.startswith("sales at ")
    assert others == ["stock at 09:00", "stock at 10:00", "stock at 11:00", "taxes, once", "0 schedules left"]


async def test_a_document_is_executed(database: str) -> None:
    assert await in_time(dsl.main(database)) == {
        "city": "Paris",
        "page": "all about Paris",
        "loud": "ALL ABOUT PARIS",
        "length": 15,
    }


async def test_steps_have_what_their_worker_has_opened(database: str) -> None:
    assert await in_time(dependency_injection.main(database)) == 2432902008176640000


async def test_large_values_are_kept_in_files(database: str, tmp_path: Path) -> None:
    page = await in_time(external_storage.main(database, tmp_path))
    assert len(page) > 170_000
    (file,) = tmp_path.iterdir()
    assert page in file.read_text()
    stored = await rows(database, "SELECT input::text, output::text FROM durable.runs")
    assert stored == [('{"value":"Durable"}', f'{{"digest":"{file.name}"}}')]


def test_the_samples_are_short_and_the_table_names_each() -> None:
    table = (FOLDER / "README.md").read_text()
    for path in SAMPLES:
        assert len(path.read_text().splitlines()) <= MOST_LINES, path
        assert f"[{path.name}]({path.name})" in table
