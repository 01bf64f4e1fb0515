"""The figures as pictures: bars of the medians with their ranges, the figures of one unit together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from benchmarks.setting import Figure

_MAX_UNITS = 3
_INK, _BAR, _TARGET = "#24292f", "#4c78a8", "#d1495b"


def draw(name: str, figures: Sequence[Figure], directory: Path) -> Path | None:
    """Writes ``NAME.svg`` and returns its path, ``None`` if there is too little to compare."""
    units: dict[str, list[Figure]] = {}
    for figure in figures:
        units.setdefault(figure.unit, []).append(figure)
    shown = {unit: members for unit, members in units.items() if len(members) > 1}
    if not shown:
        return None
    mpl.rcParams.update({"svg.hashsalt": "durable", "font.size": 9, "svg.fonttype": "none"})
    heights = [len(members) for members in list(shown.values())[:_MAX_UNITS]]
    canvas = Canvas(figsize=(8.5, 0.6 * len(heights) + 0.34 * sum(heights)), layout="constrained")
    axes = canvas.subplots(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for ax, (unit, members) in zip(axes, shown.items(), strict=False):
        _bars(ax, unit, members)
    path = directory / f"{name}.svg"
    canvas.savefig(path, metadata={"Date": None})
    return path


def _bars(ax: Axes, unit: str, members: Sequence[Figure]) -> None:
    medians = [member.median for member in members]
    errors = [
        [member.median - member.spread[0] for member in members],
        [member.spread[1] - member.median for member in members],
    ]
    places = range(len(members))
    ax.barh(places, medians, xerr=errors, color=_BAR, ecolor=_INK, error_kw={"linewidth": 0.8}, height=0.7)
    for place, member in zip(places, members, strict=True):
        if member.target is not None:
            ax.plot([member.target] * 2, [place - 0.45, place + 0.45], color=_TARGET, linewidth=1.6)
    if max(medians) > 50 * max(min(medians), 1e-9):
        ax.set_xscale("log")
    ax.set_yticks(places, [member.name for member in members])
    ax.invert_yaxis()
    ax.set_xlabel(f"{unit} (red: target)" if any(member.target for member in members) else unit)
    ax.spines[["top", "right"]].set_visible(False)
