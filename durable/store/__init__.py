"""Every statement of the engine: a name, a file under ``queries/``, one caller. The only place that knows columns."""
