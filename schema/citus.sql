-- Distributes the tables over the nodes of a Citus cluster; run it once, on the coordinator, after creating the schema.
-- Everything about a run is on one node: all tables are distributed by the shard value, which every statement names.

SELECT create_distributed_table('durable.runs', 'workflow_name_shard');
SELECT create_distributed_table('durable.steps', 'workflow_name_shard', colocate_with => 'durable.runs');
SELECT create_distributed_table('durable.waits', 'workflow_name_shard', colocate_with => 'durable.runs');
SELECT create_distributed_table('durable.events', 'workflow_name_shard', colocate_with => 'durable.runs');
SELECT create_distributed_table('durable.chapters', 'workflow_name_shard', colocate_with => 'durable.runs');

-- On the coordinator only, and not as reference tables, because those do not skip locked rows but wait for them.
SELECT citus_add_local_table_to_metadata('durable.schedules');
SELECT citus_add_local_table_to_metadata('durable.workers');
SELECT citus_add_local_table_to_metadata('durable.settings');
SELECT citus_add_local_table_to_metadata('durable.workflow_pauses');
