"""Arguments for the public surface: what is meant to be given, and what nobody should give."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import strategies as st

from durable import Cron, Every, JsonCodec, RetryPolicy, RunKey, RunRetryPolicy, exponential
from tests.client.workflows import checkout, greet, nightly

NOWHERE = "greet_0:01920000-0000-7000-8000-000000000000"
NEW_YEAR = datetime(2030, 1, 1)


class Given(NamedTuple):
    """A value made anew for every call; its label stands in the report of a failure, where some have no ``repr``."""

    label: str
    make: Callable[[], Any]

    def __repr__(self) -> str:
        return self.label


class Word(str):
    __slots__ = ()


class Number(int):
    pass


class Table(dict[Any, Any]):
    pass


class Texts(str, enum.Enum):  # noqa: UP042 - its str is not its value
    QUEUED = "queued"
    ALLOW = "allow"
    ONE = "one"
    UTC = "UTC"
    HOURLY = "0 * * * *"


class Numbers(enum.IntEnum):
    ONE = 1


class Plain(enum.Enum):
    ONE = 1


class Stranger(msgspec.Struct):
    name: str = "x"


class Nameless:
    __module__ = None


class NoOffset(tzinfo):
    def utcoffset(self, _: datetime | None, /) -> timedelta | None:
        return None

    dst = utcoffset

    def tzname(self, _: datetime | None, /) -> str:
        return "nowhere"


def _refuse(*_: object) -> Any:
    raise ZeroDivisionError("this object is mute")


class Mute:
    # Not __iter__: what an iterable of the caller raises by itself is the caller's.
    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __int__ = __float__ = __index__ = _refuse


class MuteWord(str):
    __slots__ = ()
    __repr__ = __str__ = _refuse


class MuteStruct(msgspec.Struct):
    name: str = "x"
    __repr__ = _refuse


def nested(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def ring() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


async def _coroutine() -> None:
    pass


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 5, 2**15, 2**31 - 1, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**4000, -(10**4000)),
    *(0.5, 1.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), float("-inf"), 1j, Decimal("NaN"), Decimal(1)),
    *(Decimal("1e99999"), Fraction(1, 2), UUID(int=0), "", "x", " ", "\0", "a\0b", "\ud800", "a\nb", "😀", "é" * 101),
    *("x" * 200, "x" * 201, "x" * 3000, "queued", "allow", "UTC", "America", "localtime", "0 * * * *", "0 0 30 2 *"),
    *(
        "* * * * * *",
        "@every 1h",
        "@every 1us",
        "@every -1s",
        "@every " + "9" * 90 + "h",
        ":",
        "_0:",
        "x_0:",
        "greet_0",
    ),
    *("host=\0", "postgresql://[", NOWHERE, NOWHERE.replace("_0", "_" + "9" * 30), NOWHERE.replace("_0", "_٣")),
    *(
        NOWHERE.replace("t_0", "\n_0"),
        NOWHERE.replace("t_0", "\ud800_0"),
        NOWHERE.replace("t_0", "\0_0"),
        f"{NOWHERE}٠",
    ),
    *(b"", b"x", b"\xff", bytearray(b"x"), memoryview(b"x"), [], [1], ["a"], (), (1,), {}, {"a": "b"}, {1: 2}),
    *({None: 1}, {"": ""}, {"a\0": "b"}, {"\ud800": "b"}, {"a": "\ud800"}, {"a": None}, {(1, 2): "a"}, {"a": 10**4000}),
    *(
        {"a": Word("b")},
        {Word("a"): "b"},
        {"a": Texts.ONE},
        {Texts.ONE: "b"},
        set[int](),
        {1},
        frozenset("a"),
        range(3),
    ),
    *(NEW_YEAR, datetime.min, datetime.max, datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
    *(datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 12, 31, 23, 59, 59, 999999, UTC), NEW_YEAR.replace(tzinfo=UTC)),
    *(NEW_YEAR.replace(tzinfo=NoOffset()), NEW_YEAR.replace(tzinfo=ZoneInfo("Europe/Berlin"))),
    *(
        moment.replace(tzinfo=timezone(offset))
        for moment in (NEW_YEAR, datetime.min, datetime.max)
        for offset in (timedelta(microseconds=1), timedelta(hours=23, minutes=59), timedelta(hours=-16))
    ),
    *(date.min, date.max, time(), time(tzinfo=UTC), timedelta(), timedelta.min, timedelta.max, timedelta(days=36525)),
    *(timedelta(microseconds=1), ZoneInfo("UTC"), UTC, *Texts, Numbers.ONE, Plain.ONE, int, str, object, type, Texts),
    *(ValueError, ValueError("x"), len, lambda: 1, object(), ..., NotImplemented, msgspec.UNSET),
    *(
        Word("x"),
        Word(""),
        Word("queued"),
        Word("0 * * * *"),
        Number(3),
        Number(-3),
        Table(a="b"),
        Stranger(),
        Nameless(),
    ),
    *(RunKey("", "x"), RunKey("x", ""), RunKey(None, None), RunKey(5, 6), RunKey("x_0", UUID(int=0))),
    *(
        RunKey(shard, NOWHERE[-36:])
        for shard in ("x", "x_0", "a:b_0", "\ud800_0", "\0_0", "x_" + "0" * 9000, Word("x_0"))
    ),
    *(Cron("0 * * * *"), Every(1), RetryPolicy(), RunRetryPolicy(), exponential(1, 2), JsonCodec(), JsonCodec),
    *(greet, checkout, nightly, greet.function),
)


def _labelled(value: object) -> Given:
    shown = f"{type(value).__name__} of 4,000 digits" if type(value) is int and abs(value) > 2**99 else ascii(value)
    return Given(shown if len(shown) < 90 else f"{shown[:60]}…{shown[-20:]}", lambda: value)


JUNK = (
    *map(_labelled, _VALUES),
    Given("a list 150 deep", lambda: nested(150)),
    Given("a list 300 deep", lambda: nested(300)),
    Given("a list that contains itself", ring),
    Given("a generator", lambda: (word for word in ("a", "b"))),
    Given("a coroutine", _coroutine),
)
HOSTILE = (
    Given("Mute()", Mute),
    Given("[Mute()]", lambda: [Mute()]),
    Given("{'a': Mute()}", lambda: {"a": Mute()}),
    Given("MuteWord()", lambda: MuteWord("x")),
    Given("{'a': MuteWord()}", lambda: {"a": MuteWord("x")}),
    Given("MuteStruct()", MuteStruct),
    Given("RunKey(Mute(), Mute())", lambda: RunKey(Mute(), Mute())),
    Given("a list 100,000 deep", lambda: nested(100_000)),
)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60)
keys = texts.filter(bool).filter(lambda text: len(text.encode()) <= 200)
durations: st.SearchStrategy[Any] = (
    st.floats(0, 3e9) | st.integers(0, 3 * 10**9) | st.timedeltas(timedelta(), timedelta(days=36000))
)
zones: st.SearchStrategy[Any] = st.sampled_from([UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/St_Johns")]) | (
    st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
)


def moments(first: int, last: int) -> st.SearchStrategy[datetime]:
    return st.datetimes(datetime(first, 1, 2), datetime(last, 12, 30), timezones=zones)


values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(-1e300, 1e300) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
junk: st.SearchStrategy[Any] = (
    st.sampled_from(JUNK)
    | st.sampled_from(HOSTILE)
    | st.text(st.characters(), max_size=220)
    | st.integers()
    | st.floats()
    | st.datetimes(timezones=st.none() | zones)
    | st.timedeltas()
    | st.binary(max_size=8)
    | values
)


def near(*kinds: type) -> st.SearchStrategy[Any]:
    """``junk``, more often of these types: those of an argument that is meant."""
    return junk | st.sampled_from([value for value in _VALUES if isinstance(value, kinds)])


@st.composite
def mixed(
    draw: st.DrawFn, valid: Mapping[str, st.SearchStrategy[Any]], spoilt: Mapping[str, st.SearchStrategy[Any]]
) -> dict[str, Any]:
    """By parameter: valid ones, at most two of them replaced; by ``junk`` where ``spoilt`` has nothing else."""
    names = draw(st.sets(st.sampled_from(sorted(valid)), max_size=2))
    return {name: draw(spoilt.get(name, junk) if name in names else valid[name]) for name in valid}


def made(argument: Any) -> Any:
    return argument.make() if isinstance(argument, Given) else argument
