"""Handwritten digits: scikit-learn's 1,797 scans of 8x8 pixels, cut once into those to learn from and those held out.

The cut is fixed, so that recipes, tests and benchmarks mean the same 360 images by "held out".
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HELD_OUT = 360


@dataclass(frozen=True, slots=True)
class Digits:
    """Scans and what they show. Read-only arrays, shared by all callers."""

    images: NDArray[np.float32]
    """`[count, 1, 8, 8]`, ink from 0 (paper) to 16."""

    labels: NDArray[np.int64]
    """`[count]`, 0 to 9."""


def training() -> Digits:
    """Return the 1,437 scans to learn from."""
    return _cut()[0]


def held_out() -> Digits:
    """Return the 360 scans that no model has seen, each digit about as often as in the whole."""
    return _cut()[1]


@cache
def _cut() -> tuple[Digits, Digits]:
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 1, 8, 8).astype(np.float32)
    learn_x, hold_x, learn_y, hold_y = train_test_split(
        images, labels.astype(np.int64), test_size=HELD_OUT, random_state=0, stratify=labels
    )
    for array in (learn_x, hold_x, learn_y, hold_y):
        array.flags.writeable = False
    return Digits(learn_x, learn_y), Digits(hold_x, hold_y)
