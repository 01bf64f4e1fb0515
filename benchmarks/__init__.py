"""Benchmarks: `python -m benchmarks [NAME …]`. Each module's docstring says what it measures."""
