"""What `import mmedpo` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

CHECK = """
import sys
import mmedpo
assert not {"torch", "transformers", "pyarrow"} & set(sys.modules), "import mmedpo must stay light"
assert sorted(mmedpo.__all__) == sorted(mmedpo._HOMES)
for name in mmedpo.__all__:
    value = getattr(mmedpo, name)
    assert not isinstance(value, type(sys)), f"{name} is a module, not a function or a class"
    assert callable(value) and value.__doc__, name
from mmedpo import stages
for name in stages.__all__:
    value = getattr(stages, name)
    assert callable(value) and value.__doc__, name
"""


@pytest.mark.long
def test_every_public_name_is_there_documented_and_lazy():
    subprocess.run([sys.executable, "-c", CHECK], check=True)


def test_an_unknown_name_is_an_attribute_error():
    import mmedpo

    assert not hasattr(mmedpo, "no_such_name")
