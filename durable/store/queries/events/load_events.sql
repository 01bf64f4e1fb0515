-- What is in the inboxes of these runs, oldest first. Requests to retry are left out, because they are for runs that
-- have ended.
SELECT run_id::text, event_id::text, kind, name, payload::text
FROM durable.events
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY(%(run_ids)s::uuid[]) AND consumed_by IS NULL
  AND kind <> 'retry'
ORDER BY created_at, event_id
