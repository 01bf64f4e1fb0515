-- For the rest of the transaction.
SELECT pg_catalog.set_config('lock_timeout', %(milliseconds)s, true) AS lock_timeout
