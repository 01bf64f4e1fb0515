DELETE FROM durable.workers WHERE worker_id = %(worker_id)s
