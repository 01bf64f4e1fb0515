"""Values to JSON text and back.

Every input, output, argument, event and draw passes through a ``Codec``. Read with its declared type, a value comes
back equal and of the same type. The workflow gets what came back even on the first call, so a replay continues with the
same value. ``json_codec`` encodes with msgspec and rejects what cannot be stored; ``culprit`` then finds the path to
the offending part for the error message. ``hooks`` handles what msgspec does not, such as pydantic models, without
importing pydantic.

``declared_types`` and ``model_types`` judge a declared type once, before there is a value: whether its values can be
read back at all, and whether they come back equal. Only if that depends on the value are what went out and what came
back compared (``differences``). ``complaints`` says what is wrong with a stored text without repeating it, and
``collisions`` refuses numbers that were chosen to make a set slow.

Do not change the text itself lightly: it is stored, and people query it.
"""
