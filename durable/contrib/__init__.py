"""Transactions of other libraries: SQLAlchemy, Django, asyncpg. Each module is imported only when such an object turns
up.

An adapter gives ``sync_execute(tx)`` and ``async_execute(tx)``: how to run one statement in that transaction, or
``None``
for an object that it does not know. It never begins, commits or rolls back. ``durable.postgres.transactions`` names the
adapters and says what is expected of them; it is the place to register another one.
"""
