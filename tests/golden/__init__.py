"""Histories that every later version must replay, one a feature."""
