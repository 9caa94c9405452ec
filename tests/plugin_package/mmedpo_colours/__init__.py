"""A package from outside that brings mmedpo one piece of every kind: one file each, and nothing else.

A new piece is a new file here; importing the package is what registers them all. What loads torch lies in
`models/`, and is announced by itself, so that it is imported only when a model is asked for.
"""

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
    if not _module.ispkg:
        importlib.import_module(_module.name)
