-- Runs with the keys of these, begun before them, that ended at least this many seconds ago.
SELECT DISTINCT older.run_id::text, older.parent_shard, older.parent_run_id::text
FROM durable.runs AS newer
JOIN durable.runs AS older
  ON older.workflow_name_shard = %(shard_value)s AND older.key = newer.key
 AND coalesce(older.generation, 0) < newer.generation
WHERE newer.workflow_name_shard = %(shard_value)s AND newer.run_id = ANY (%(run_ids)s::uuid[])
  AND older.completed_at < now() - make_interval(secs => %(age)s)
  AND older.run_id <> ALL (%(run_ids)s::uuid[])
LIMIT %(limit)s
