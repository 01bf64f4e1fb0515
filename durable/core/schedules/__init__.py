"""When a schedule fires, and what it then does."""
