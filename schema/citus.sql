-- Distributes the tables over the nodes of a Citus cluster; run it once, on the coordinator, after the schema.
-- All of a run lives on one node: its tables are split alike by the shard value, which every statement names.

SELECT create_distributed_table('durable.runs', 'workflow_name_shard');
SELECT create_distributed_table('durable.steps', 'workflow_name_shard', colocate_with => 'durable.runs');
SELECT create_distributed_table('durable.waits', 'workflow_name_shard', colocate_with => 'durable.runs');
SELECT create_distributed_table('durable.events', 'workflow_name_shard', colocate_with => 'durable.runs');

-- On the coordinator alone, and not as reference tables: those do not skip locked rows, they wait for them.
SELECT citus_add_local_table_to_metadata('durable.schedules');
SELECT citus_add_local_table_to_metadata('durable.workers');
SELECT citus_add_local_table_to_metadata('durable.settings');
