"""Transactions of other libraries, a module for each, which ``durable.tx`` imports when it is first needed."""
