-- Notifies the channel of `done_channel`.
SELECT pg_catalog.pg_notify(
    pg_catalog.concat('durable_done_', pg_catalog.left(
        pg_catalog.encode(pg_catalog.sha256('durable.done'::bytea), 'hex'), 16)),
    %(payload)s)
