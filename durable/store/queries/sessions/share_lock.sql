-- Never waits: whoever may log in can hold this lock, or queue for it.
SELECT pg_catalog.pg_try_advisory_lock_shared(%(high)s::int, %(low)s::int) AS is_locked
