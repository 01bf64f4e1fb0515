-- Until the transaction ends. The locks are taken in the order of the numbers.
SELECT pg_catalog.pg_advisory_xact_lock(one.number) AS locked
FROM (SELECT number FROM unnest(%(numbers)s::text::bigint[]) AS wanted (number) ORDER BY number) AS one
