"""From predictions to answers: how right, on which classes, confused with what, and where a net was surely wrong."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from helpers.results.intervals import Interval, share
from helpers.training import Answers


def accuracy(given: Answers) -> Interval:
    """Share of right answers."""
    return share(int(given.right.sum()), len(given.right))


def confusion(given: Answers, classes: int) -> np.ndarray:
    """What was called what: (classes, classes) int64, row = truth, column = prediction, the sum is N."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (given.labels, given.predicted), 1)
    return counts


def class_accuracy(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, Interval]:
    """The share of every class's images that were recognised, by name and the best first, from a confusion matrix."""
    shares = {name: share(int(row[k]), int(row.sum())) for k, (name, row) in enumerate(zip(classes, matrix))}
    return dict(sorted(shares.items(), key=lambda item: -item[1].value))


def confused_pairs(matrix: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Pairs of classes that were taken for each other, by their names, the most confused pair first."""
    a, b = np.triu_indices(len(classes), 1)
    first, second = np.where(matrix[a, b] >= matrix[b, a], (a, b), (b, a))
    names, there, back = np.array(list(classes)), matrix[first, second], matrix[second, first]
    columns = {"one class": names[first], "the other": names[second], "first called second": there}
    pairs = pd.DataFrame({**columns, "second called first": back, "together": there + back}).query("together > 0")
    pairs = pairs.sort_values("together", ascending=False, kind="stable", ignore_index=True)
    return pairs.set_index(pairs.index + 1)


def ranked_mistakes(given: Answers, count: int | None = None) -> np.ndarray:
    """Places of the wrong answers in the split, the most confident first: at most `count` of them, or all."""
    wrong = np.flatnonzero(~given.right)
    return wrong[np.argsort(-given.confidence[wrong], kind="stable")][:count]
