"""From predictions to answers: how right, on which classes, confused with what, and where a net was surely wrong."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from helpers import training
from helpers.results.intervals import Interval, share
from helpers.training import Answers


@dataclass(frozen=True)
class Predictions(Answers):
    """A net's answers with the probabilities of all classes, neither of them rounded."""

    probabilities: np.ndarray  # (N, K) float64, rows sum to 1


def of_logits(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    """Predictions from logits (N, K), finite numbers, for true classes (N,)."""
    kept = training.of_logits(logits, labels)
    probabilities = special.softmax(np.asarray(logits, dtype=np.float64), axis=1)
    return Predictions(kept.predicted.astype(int), probabilities.max(1), kept.labels.astype(int), probabilities)


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


def luck_of_best_epoch(right: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Gains of a run's best epoch over its last, chosen on random halves of the test images: there, and elsewhere.

    The first, (draws,) in [0, 1], is claimed on the half that chose, the second, in [-1, 1], kept on the other. Their
    spread says how much one choice varies, not how well the mean is known: all halves share the images. `right`,
    (epochs, N) bool, is whether each image was right after each epoch; of equally good epochs the first is chosen.
    """
    count, half = right.shape[1], right.shape[1] // 2
    chosen = np.zeros((draws, count), np.float32)
    chosen[:, :half] = 1
    chosen = np.random.default_rng(seed).permuted(chosen, axis=1)
    hits = (chosen @ right.T.astype(np.float32)).astype(np.float64)  # (draws, epochs), whole numbers
    here, there = hits / half, (right.sum(1) - hits) / (count - half)
    rows, best = np.arange(draws), here.argmax(1)
    return here[rows, best] - here[:, -1], there[rows, best] - there[:, -1]
