"""What the scenarios store and look for: a dozen sentences, each with a topic, a year and a key.

They stand in `passages.json`, which the scenario of Node reads too. No two share most of their words, so a question
that repeats those of one is answered by that one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Passage(NamedTuple):
    key: str
    text: str
    topic: str
    year: int


PASSAGES = [Passage(**each) for each in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))]

BY_KEY = {passage.key: passage for passage in PASSAGES}
