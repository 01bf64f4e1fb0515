"""What a worker tells of its work while it works: the observer, and what it is told.

Without an observer a worker makes one comparison a flush and one a visit, and nothing for each step.

Invariants
    What is told of a run is told once its flush is acknowledged, so that neither a replay nor a write that was fenced
    counts. An observer cannot disturb the engine: what it raises is logged, at most once a minute, and forgotten.
"""

from durable.telemetry.observer import Claimed, Flushed, Observer, RunEnded, StepEnded, StepRetried, TakenOver

__all__ = ["Claimed", "Flushed", "Observer", "RunEnded", "StepEnded", "StepRetried", "TakenOver"]
