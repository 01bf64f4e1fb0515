"""Why a run is not moving, in sentences.

``facts`` is what must be known about a run, its waits, its inbox, its workers and its children; ``store/diagnosis``
reads it in one snapshot. ``causes`` says what follows from the facts, worst first. It is a pure function, so that every
sentence has a test, and the command line and whatever else shows it say the same.
"""
