"""The machine: memos in, commands out."""
