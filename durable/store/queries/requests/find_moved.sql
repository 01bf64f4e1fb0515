-- The later run with the same key to which a request was moved, because the run that was asked had ended without having
-- read it; the request is known by its id, or by its name and key.
SELECT holder.run_id::text, request.event_id::text
FROM durable.runs AS asked
JOIN durable.runs AS holder
  ON holder.workflow_name_shard = %(shard_value)s AND holder.key = asked.key
 AND holder.generation > coalesce(asked.generation, 0)
JOIN durable.events AS request
  ON request.workflow_name_shard = %(shard_value)s AND request.run_id = holder.run_id AND request.kind = 'request'
 AND (request.event_id = %(event_id)s::uuid OR request.name = %(name)s AND request.key = %(key)s)
WHERE asked.workflow_name_shard = %(shard_value)s AND asked.run_id = %(run_id)s::uuid
ORDER BY holder.generation
LIMIT 1
