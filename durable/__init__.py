"""Durable execution for Python on Postgres."""
