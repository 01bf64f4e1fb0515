"""CPython's own tests of asyncio, run on the loop of a run."""
