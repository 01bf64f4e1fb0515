-- On the channel of `work_channel`. It is named by a hash, because a schema's name may fill all 63 bytes of a channel's.
SELECT pg_catalog.pg_notify(
    pg_catalog.concat('durable_work_', pg_catalog.left(
        pg_catalog.encode(pg_catalog.sha256('durable.work'::bytea), 'hex'), 16)),
    %(payload)s)
