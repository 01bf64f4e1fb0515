"""The upper bounds of the buckets of histograms."""

from __future__ import annotations

STEP_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400, 604800)
"""From a call in memory to a step that is tried again for a week."""
FLUSH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FLUSH_RECORDS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000)
