"""Values to JSON text and back.

Every input, output, argument, event and draw passes through a ``Codec``. Read with its declared type, a value comes
back equal and of the same type. The workflow gets what came back even on the first call, so a replay continues with the
same value. ``json_codec`` encodes with msgspec and rejects what cannot be stored; ``culprit`` then finds the path to
the offending part for the error message. ``declared_types`` rejects, before a step is even called, a return annotation
whose values could never be read back. ``models`` handles pydantic models without importing pydantic.

Do not change the text itself lightly: it is stored, and people query it.
"""
