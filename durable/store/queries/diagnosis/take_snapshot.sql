-- Everything that follows in the transaction sees the same moment.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY
