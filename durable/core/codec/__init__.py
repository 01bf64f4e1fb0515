"""Values to JSON text and back.

Every input, output, argument, event and draw passes through a ``Codec``. By its declared type a value comes back equal,
type included; the workflow is given what came back even on the first call, so a replay continues with the same value.
``json_codec`` encodes with msgspec and refuses what cannot be stored; ``culprit`` then finds the path to the offending
part
for the error message. ``declared_types`` refuses, before a step is even called, a return annotation of which no value
could ever be read back. ``models`` handles pydantic models without importing pydantic.

Not to be changed lightly: the text itself. It is stored, and people query it.
"""
