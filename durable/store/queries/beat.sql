-- No row: this worker was declared dead and its runs belong to others.
UPDATE durable.workers SET heartbeat_at = now() WHERE worker_id = %(worker_id)s RETURNING true
