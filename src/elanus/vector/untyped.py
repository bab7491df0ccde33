"""faiss as a value of type Any: its stubs leave out much of what it has, and differ between the versions we accept."""

from __future__ import annotations

import importlib
from typing import Any

faiss: Any = importlib.import_module("faiss")
