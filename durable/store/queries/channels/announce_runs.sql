-- Notifies two of the channels of `numbered_channel`. The ticket, which decides which worker comes first, is derived from
-- the id of the transaction: that costs nothing, because a transaction that notifies has one anyway, and a transaction
-- remains one announcement.
SELECT pg_catalog.pg_notify(
    pg_catalog.concat('durable_work_', pg_catalog.left(
        pg_catalog.encode(pg_catalog.sha256('durable.work'::bytea), 'hex'), 16), '_', listeners.number),
    pg_catalog.concat('first:', drawn.ticket, ':', %(shard_value)s::text))
FROM (SELECT pg_catalog.mod(pg_catalog.pg_current_xact_id()::text::bigint, %(tickets)s::bigint) AS ticket) AS drawn
CROSS JOIN LATERAL (VALUES (drawn.ticket), (%(number)s::bigint)) AS listeners (number)
