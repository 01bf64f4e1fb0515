"""A request that was made of a run, as the application that made it sees it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Generic, TypeVar

from durable.client.requests import Asked
from durable.client.results import AsyncResults, Results
from durable.core.codec.json_codec import Codec
from durable.core.durations import seconds

T = TypeVar("T")


class _Request(Generic[T]):
    """What a handle of either kind knows."""

    def __init__(self, asked: Asked, type: Any, codec: Codec | None) -> None:
        self._asked = asked
        self._type = type
        self._codec = codec
        self.run_key = asked.run_key
        """The run that was asked."""
        self.name = asked.name
        """What the workflow waits for."""
        self.key = asked.key
        """The key of the request, also if none was given: a call with the same run, name and key gives the same
        reply."""

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} of {self.name!r} to run {self.run_key}>"


class RequestHandle(_Request[T]):
    """A handle of a request, made by ``Client.request_tx``. It can be used until its client is closed."""

    def __init__(self, asked: Asked, type: Any, codec: Codec | None, results: Results) -> None:
        super().__init__(asked, type, codec)
        self._results = results

    def reply(self, timeout: timedelta | float | None = None) -> T:
        """Waits for the reply, as ``Client.request`` does. The transaction in which the request was made must have
        been committed: ``RequestNotFound`` is raised if it was not."""
        answered = self._results.reply(self._asked, None if timeout is None else seconds("timeout", timeout))
        reply: T = self._results.operations.answer(self._asked, answered, self._type, self._codec)
        return reply


class AsyncRequestHandle(_Request[T]):
    """The asyncio counterpart of ``RequestHandle``."""

    def __init__(self, asked: Asked, type: Any, codec: Codec | None, results: AsyncResults) -> None:
        super().__init__(asked, type, codec)
        self._results = results

    async def reply(self, timeout: timedelta | float | None = None) -> T:
        """Same as ``RequestHandle.reply``."""
        answered = await self._results.reply(self._asked, None if timeout is None else seconds("timeout", timeout))
        reply: T = self._results.operations.answer(self._asked, answered, self._type, self._codec)
        return reply
