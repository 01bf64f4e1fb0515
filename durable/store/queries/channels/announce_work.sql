-- Notifies the channel of `work_channel`. The channel is named by a hash, because the name of a schema may be as long
-- as the 63 bytes that the name of a channel may have.
SELECT pg_catalog.pg_notify(
    pg_catalog.concat('durable_work_', pg_catalog.left(
        pg_catalog.encode(pg_catalog.sha256('durable.work'::bytea), 'hex'), 16)),
    %(payload)s)
