-- The runs end in this transaction: what is to happen then was routed while they had not, and is looked at once more.
UPDATE durable.events
SET routed_at = NULL
WHERE workflow_name_shard = %(shard_value)s AND run_id = ANY (%(run_ids)s::uuid[]) AND kind = 'next'
  AND consumed_by IS NULL AND routed_at IS NOT NULL
RETURNING run_id::text
