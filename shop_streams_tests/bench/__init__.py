"""`make bench`: each speed as a ratio against a baseline of the same run. `__main__.py` is the command."""
