-- What is in the inboxes of these runs, oldest first. Requests to retry or to change a time, and what is to follow, are
-- left out, because no run that is executing acts on them. In place of a payload that no worker could hold there is nothing, which no wait can read; see claim_runs.
SELECT run_id::text, event_id::text, kind, name,
       CASE WHEN pg_catalog.pg_column_size(payload) < 8000 OR pg_catalog.octet_length(payload::text) <= 67108864
            THEN payload::text ELSE '' END AS payload
FROM durable.events
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[]) AND consumed_by IS NULL
  AND kind NOT IN ('retry', 'next', 'reschedule')
ORDER BY created_at, event_id
