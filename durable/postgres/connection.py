"""A connection that belongs to the engine: it runs operations, and it has the schema that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection

from durable.postgres import pipeline
from durable.postgres.silence import ANSWER_SECONDS, answering
from durable.store.operation import Operation
from durable.store.statement import T


class EngineConnection:
    """A psycopg connection in autocommit mode, and a schema. A worker has the same schema for life, so no statement
    names it. ``settings`` are made in each transaction, because the session does not have them."""

    __slots__ = ("_settings", "psycopg", "schema")

    def __init__(self, connection: AsyncConnection[Any], schema: str, settings: Sequence[LiteralString] = ()) -> None:
        self.psycopg = connection
        self.schema = schema
        self._settings = settings

    async def run(self, operation: Operation[T]) -> T:
        """Runs an operation to its end, however long the server takes."""
        return await pipeline.run(self.psycopg, self.schema, operation, self._settings)

    async def answer(self, operation: Operation[T], seconds: float = ANSWER_SECONDS) -> T:
        """Like ``run``, but hangs up if the operation has not ended within that many seconds."""
        with answering(self.psycopg, seconds):
            return await self.run(operation)

    @property
    def is_closed(self) -> bool:
        return self.psycopg.closed

    async def close(self) -> None:
        await self.psycopg.close()
