"""Render few-shot examples once: lm-eval renders each of them again for every question.

An example is kept as it was when it was rendered, and rendered again if the task has changed it since.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lm_eval import utils

MOST_EXAMPLES = 2_000  # of a task; a larger pool is drawn from at random, so that few are drawn twice
DRAWS = "random"  # Jinja's filter, in templates that give another text each time

_render = utils.apply_template


class FewShotTexts:
    """The rendered examples of the task whose questions are being built."""

    def __init__(self) -> None:
        self._pool: set[int] = set()
        self._texts: dict[tuple[str, int], tuple[Mapping[str, Any], str]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def kept(self, examples: object) -> Iterator[None]:
        """Keep the texts of these documents, a list of dictionaries, while questions are built.

        One thread at a time builds questions.
        """
        with self._lock:
            if isinstance(examples, list) and len(examples) <= MOST_EXAMPLES:
                self._pool = {id(example) for example in examples}
            try:
                yield
            finally:
                self._pool, self._texts = set(), {}

    def text(self, template: str, doc: Any) -> str:
        """What lm-eval's own function gives."""
        key = (template, id(doc))
        if key[1] not in self._pool or DRAWS in template:
            return str(_render(template, doc))
        known = self._texts.get(key)
        if known is None or known[0] != doc:
            known = self._texts[key] = (copy.deepcopy(doc), str(_render(template, doc)))
        return known[1]


FEW_SHOT = FewShotTexts()
utils.apply_template = FEW_SHOT.text
