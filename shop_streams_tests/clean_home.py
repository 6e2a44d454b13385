"""The tests see no settings of this shell, and no home that a demo has left in this folder. Imported before all other modules.

Some settings are read when a module is imported, such as the first day of all partitions.
"""

import atexit
import os
import shutil
import tempfile

import pytest
from dotenv import dotenv_values

from shop_streams.environment import PREFIX

if any(name.startswith(PREFIX) for name in dotenv_values(".env")):
    raise pytest.UsageError("The file .env has settings of a stack; move it away while the tests run.")
for name in [name for name in os.environ if name.startswith(PREFIX) and name != f"{PREFIX}JARS"]:
    del os.environ[name]
HOME = tempfile.mkdtemp(prefix="shop-streams-no-home-")
os.environ[f"{PREFIX}HOME"] = HOME
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
