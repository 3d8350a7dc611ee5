"""A table of numbers with classes, for tasks that predict them: rows in the same four splits as a text.

A split's file holds float32 rows, the features first and the class last. The shipped tables come with
scikit-learn, so everybody has them: a secret of the home decides which rows are held out, the order of the
columns, and noise that is added to all of them, so that a script cannot look a row up.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from runners.research.corpora.documents import HELD_OUT, PUBLIC, secret_mark
from runners.research.corpora.offline_texts import version_of
from tracker.errors import TrackerError
from tracker.installation import install_command

Chunk = tuple[str, NDArray[np.integer]]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Digits:
    """scikit-learn's 1,797 handwritten digits of 8 by 8 pixels, with noise (UCI, 1998)."""

    name: str
    n_held_out: int  # rows of each held-out split
    noise: float  # standard deviation; a pixel is between 0 and 16
    secret: str = field(default=PUBLIC, repr=False)
    n_features: int = 64
    n_classes: int = 10
    vocab_size: int = 256  # the files are bytes
    token_bytes: int = 1
    pinned_hash: str | None = None

    def keyed(self, secret: str) -> Digits:
        """The same rows under another secret."""
        return replace(self, secret=secret)

    def made_of(self) -> Mapping[str, str]:
        """The version, the sizes, and a hash that tells secrets apart without giving them away."""
        return {
            "scikit-learn": version_of("scikit-learn"),
            "n_held_out": str(self.n_held_out),
            "noise": f"{self.noise:g}",
            "secret": secret_mark(self.secret),
        }

    def chunks(self) -> Iterator[Chunk]:
        """The rows of each split, as bytes.

        Raises:
            TrackerError: scikit-learn is not installed.
        """
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            message = f"the table `{self.name}` comes with scikit-learn, which is not installed"
            raise TrackerError(message, hint=install_command("research")) from error
        features, classes = load_digits(return_X_y=True)
        seed = int.from_bytes(hashlib.sha256(f"{self.secret} {self.name}".encode()).digest()[:8])
        draw = np.random.default_rng(seed)
        order, columns = draw.permutation(len(features)), draw.permutation(self.n_features)
        noisy = features + draw.normal(0.0, self.noise, features.shape)
        rows = np.column_stack((noisy[order][:, columns], classes[order])).astype("<f4")
        for i, split in enumerate(HELD_OUT):
            yield split, _bytes(rows[i * self.n_held_out : (i + 1) * self.n_held_out])
        yield "train", _bytes(rows[len(HELD_OUT) * self.n_held_out :])

    def byte_lengths(self) -> tuple[int, ...]:
        """None: rows have no bytes of text."""
        return ()


DIGITS = Digits("digits", n_held_out=320, noise=4.0)
TABLES: Mapping[str, Digits] = {DIGITS.name: DIGITS}


def rows_of(name: str, content: NDArray[np.integer]) -> Rows:
    """(N, features + 1) rows of one split's bytes.

    Raises:
        TrackerError: no table has that name.
    """
    if name not in TABLES:
        message = f"the corpus `{name}` is no table, so there are no classes to predict"
        raise TrackerError(message, hint="known tables: " + ", ".join(TABLES))
    flat = np.frombuffer(content.astype(np.uint8).tobytes(), dtype="<f4")
    return flat.reshape(-1, TABLES[name].n_features + 1)


def _bytes(rows: Rows) -> NDArray[np.uint8]:
    return np.frombuffer(rows.tobytes(), dtype=np.uint8)
