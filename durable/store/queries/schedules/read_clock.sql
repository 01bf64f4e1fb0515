SELECT (extract(epoch FROM now()) * 1e6)::bigint AS now
