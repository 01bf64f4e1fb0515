"""`durable demo`: a thousand insurance claims, two workers, one of them killed, and the proof from the tables.

``claims`` is the workflow, a program as a user would write it. ``demo`` begins its runs, kills a worker and shows what
happens; ``worker`` is one of these workers; ``proof`` compares the tables with what durable promises. The demo reads
the tables with its own SQL on purpose: a proof should not rest on the code that it is about.
"""

from durable.cli.demo.demo import run_demo

__all__ = ["run_demo"]
