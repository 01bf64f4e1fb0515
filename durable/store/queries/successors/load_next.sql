-- What is to happen after the ends of these runs, oldest first: whether the event or request that it is about is unread, whether it
-- was moved here from an earlier run, and whether the run has read anything. In place of a payload that no worker could
-- hold there is nothing; see claim_runs.
WITH inbox AS MATERIALIZED (
    SELECT run_id, event_id, kind, name, created_at, consumed_by, sender_run_id,
           CASE WHEN kind <> 'next' THEN NULL
                WHEN pg_catalog.pg_column_size(payload) < 8000 OR pg_catalog.octet_length(payload::text) <= 67108864
                THEN payload::text ELSE '' END AS payload
    FROM durable.events
    WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[]) AND kind IN ('event', 'request', 'next')
)
SELECT next.run_id::text, next.event_id::text, next.name, next.payload, (extract(epoch FROM next.created_at) * 1e6)::bigint AS created_at,
       message.event_id IS NOT NULL AS is_unread,
       next.sender_run_id IS NOT NULL AS is_moved, reader.run_id IS NOT NULL AS has_read
FROM inbox AS next
LEFT JOIN inbox AS message ON message.run_id = next.run_id AND message.event_id::text = next.name
 AND message.kind IN ('event', 'request') AND message.consumed_by IS NULL
LEFT JOIN (SELECT DISTINCT run_id FROM inbox WHERE kind IN ('event', 'request') AND consumed_by <> '') AS reader
  ON reader.run_id = next.run_id
WHERE next.kind = 'next' AND next.consumed_by IS NULL
ORDER BY next.created_at, next.event_id
