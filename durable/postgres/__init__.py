"""How statements get to a server, and what is done when it falls silent."""
