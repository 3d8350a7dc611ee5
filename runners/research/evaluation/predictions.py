"""The score of a task that trains no language model.

Of a task that predicts classes it is trusted: bits per row, from labels that no script ever sees.

The script gets the rows of all held-out splits without their labels and writes log-probabilities. They are
normalized here, so that they cannot add up to more than one, and compared here.

Nobody can see how such a training begins. So each one gets its columns and classes in an order of its own,
which follows from its seed and from rows that no script sees: whoever begins with the same numbers under each
seed begins at another place of the table each time, and the best of many beginnings is none there.

A self-reported score is read from what the script prints, and nothing is checked.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from runners.research.corpora.build import TRAIN, Corpus
from runners.research.corpora.documents import HELD_OUT
from runners.research.corpora.tables import TABLES, Rows, rows_of

DIGITS = 7  # of a score
LEAST_NATS = -50.0  # of a log-probability: one row that is said to be impossible must not decide everything


@dataclass(frozen=True, slots=True)
class TableOrder:
    """The order of one training's columns, and the name that each class has there."""

    columns: NDArray[np.int64]
    classes: NDArray[np.int64]  # by the class of the table


def table_order(corpus: Corpus, seed: int) -> TableOrder:
    """The same for each training under `seed`; not to be guessed by who has not seen the rows of `test`."""
    draw = np.random.default_rng(int.from_bytes(corpus.training_mark("order", seed)))
    table = TABLES[corpus.meta.name]
    return TableOrder(draw.permutation(table.n_features), draw.permutation(table.n_classes))


def task_data(corpus: Corpus, seed: int, n_train: int) -> tuple[bytes, Mapping[str, int]]:
    """The file that the script reads, and its sizes: training rows with labels, then rows without."""
    train = _rows(corpus, TRAIN)
    chosen = train[np.random.default_rng(seed).permutation(len(train))[:n_train]]
    order = table_order(corpus, seed)
    named = order.classes[chosen[:, -1].astype(np.int64)].astype(chosen.dtype)
    chosen = np.column_stack((chosen[:, order.columns], named))
    asked = np.concatenate([_rows(corpus, split)[:, order.columns] for split in HELD_OUT])
    table = TABLES[corpus.meta.name]
    sizes = {"n_train": len(chosen), "n_features": table.n_features, "n_classes": table.n_classes}
    return chosen.tobytes() + np.ascontiguousarray(asked).tobytes(), sizes


def prediction_bytes(corpus: Corpus) -> int:
    """Size of the file that the script must write."""
    return 4 * TABLES[corpus.meta.name].n_classes * sum(len(_rows(corpus, split)) for split in HELD_OUT)


def scored(content: bytes, corpus: Corpus, splits: Sequence[str], *, seed: int) -> dict[str, float] | None:
    """Split → mean bits per row of the training under `seed`; None where a prediction is not finite.

    Raises:
        ValueError: it has not one float32 per row and class.
    """
    n_classes = TABLES[corpus.meta.name].n_classes
    if len(content) != prediction_bytes(corpus):
        raise ValueError(f"the predictions have {len(content)} bytes, expected {prediction_bytes(corpus)}")
    said = np.frombuffer(content, dtype="<f4").reshape(-1, n_classes).astype(np.float64)
    if not np.isfinite(said).all():
        return None
    found: dict[str, float] = {}
    at = 0
    classes = table_order(corpus, seed).classes
    for split in HELD_OUT:
        labels: NDArray[np.int64] = classes[_rows(corpus, split)[:, -1].astype(np.int64)]
        part = said[at : at + len(labels)]
        at += len(labels)
        if split in splits:
            right = special.log_softmax(part, axis=1)[np.arange(len(labels)), labels]
            found[split] = round(float(-np.maximum(right, LEAST_NATS).mean() / math.log(2)), DIGITS)
    return found


def _rows(corpus: Corpus, split: str) -> Rows:
    return rows_of(corpus.meta.name, np.array(corpus.tokens(split)))


def reported(output: str, pattern: str) -> float | None:
    """The last number that `pattern` finds in the lines of `output`; None if there is none that is finite."""
    for line in reversed(output.splitlines()):
        if (found := re.search(pattern, line)) is not None:
            try:
                score = float(found.group(1))
            except (TypeError, ValueError):
                continue
            if math.isfinite(score):
                return score
    return None
