-- The run that an earlier try of the same call has begun with that key, or to which it has sent an event.
SELECT run.run_id::text, run.begin_id IS NOT DISTINCT FROM %(begin_id)s::uuid AS is_new
FROM durable.runs AS run
WHERE run.workflow_name_shard = %(shard_value)s AND run.key = %(key)s
  AND (run.begin_id = %(begin_id)s::uuid
       OR EXISTS (SELECT FROM durable.events AS event
                  WHERE event.workflow_name_shard = %(shard_value)s AND event.run_id = run.run_id
                    AND event.event_id = %(event_id)s::uuid))
LIMIT 1
