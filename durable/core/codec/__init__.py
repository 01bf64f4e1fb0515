"""Values to JSON text and back.

Every input, output, argument, event and draw passes through a ``Codec``, and what comes back must equal what went in,
in type too, because a replay continues with it. ``json_codec`` therefore checks a value while it encodes it and refuses
what would be read back as something else: ``NaN``, a dict with integer keys, a subclass that would lose its class.
``culprit`` then finds the path to the offending part for the error message. ``declared_types`` refuses, before a step
is even called, a return annotation that could never be read back. ``models`` knows pydantic models without importing
pydantic.

Not to be changed lightly: the text itself. It is stored, and it is compared by those who query it.
"""
