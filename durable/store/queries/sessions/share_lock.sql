SELECT pg_catalog.pg_advisory_lock_shared(%(high)s::int, %(low)s::int)
