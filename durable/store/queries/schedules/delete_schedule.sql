SELECT durable.delete_schedule(%(schedule_id)s) AS is_deleted
