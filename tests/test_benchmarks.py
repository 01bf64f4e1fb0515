"""The page of benchmarks says what was measured."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

pytest.importorskip("matplotlib", reason="the benchmarks need `pip install -e '.[bench]'`")
pytest.importorskip("psutil")

from benchmarks.fleet import Round, figures_of
from benchmarks.report import Measured, Page, line, write_page
from benchmarks.setting import Figure, quantiles

RATES = [
    Figure("1-step runs, 1 process", "runs/s", [9_000.0, 11_000.0, 10_500.0], 10_000.0),
    Figure("10-step runs, 1 process", "runs/s", [900.0]),
]
COST = Figure("killed to claimed elsewhere, p99", "s", [2.5], 2.0, is_cost=True)


def test_a_figure_is_its_median_with_least_and_most() -> None:
    assert RATES[0].median == 10_500
    assert RATES[0].spread == (9_000, 11_000)


@pytest.mark.parametrize(("figure", "is_reached"), [(RATES[0], True), (RATES[1], None), (COST, False)])
def test_a_target_is_reached_from_the_right_side(figure: Figure, is_reached: bool | None) -> None:  # noqa: FBT001
    assert figure.is_reached is is_reached


def test_a_missed_target_cannot_be_overlooked() -> None:
    assert "TARGET 2 MISSED" in line(COST)


def test_quantiles_are_of_the_sorted_values_in_milliseconds() -> None:
    found = quantiles("it", [0.003, 0.001, 0.002, 0.1], {99: 50.0})
    assert [figure.values for figure in found] == [[3.0], [100.0], [100.0]]
    assert [figure.is_reached for figure in found] == [None, None, False]


def test_a_fleet_is_compared_with_one_worker_in_the_same_round() -> None:
    rounds = {
        1: [Round(1.0, 10.0, 2.0, [0.004, 0.005, 0.006]), Round(1.0, 10.0, 2.0, [0.010])],
        24: [Round(1.5, 12.0, 4.0, [0.010]), Round(2.5, 12.0, 4.0, [0.050])],
    }
    figures = {figure.name: figure for figure in figures_of(rounds)}
    assert figures["workers: 24: p50 ÷ that of one worker"].values == [2.0, 5.0]
    assert figures["workers: 24: p50 ÷ that of one worker"].is_reached is False
    assert figures["workers: 24: looks"].target == 2.0
    assert figures["workers: 1: looks"].target is None


def test_the_page_has_each_figure_its_target_and_a_picture(tmp_path: Path) -> None:
    page = Page({"throughput": Measured(RATES, {"cores": "2"}), "takeover": Measured([COST], {"cores": "2"})})
    page = msgspec.json.decode(msgspec.json.encode(page), type=Page)
    write_page(page, tmp_path)
    text = (tmp_path / "benchmarks.md").read_text()
    assert "| 1-step runs, 1 process | 10,500 | runs/s | 9,000 to 11,000 | ≥ 10,000 |" in text
    assert "| killed to claimed elsewhere, p99 | 2.5 | s |  | ≤ 2, **missed** |" in text
    assert "![throughput](benchmarks/throughput.svg)" in text
    picture = (tmp_path / "benchmarks" / "throughput.svg").read_text()
    assert "10-step runs, 1 process" in picture
    assert "takeover.svg" not in text, "one figure alone is no picture"
