"""The same work in other engines: each module begins N runs of S sequential steps, works them off with one worker
process, and prints the seconds from the first claim to the last end. Run it on an empty database, as
`python -m benchmarks.peers.NAME DSN N S`."""
