"""From predictions to answers: how right, on which classes, confused with what, and where a net was surely wrong."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from helpers.training.answers import softmax


@dataclass(frozen=True)
class Share:
    """A share counted on a sample, with the interval it leaves open for the truth."""

    hits: int
    count: int  # hits and others
    low: float  # ends of the 95 % Wilson interval, in [0, 1]
    high: float

    @property
    def value(self) -> float:
        """hits / count, in [0, 1]; not a number where nothing was counted."""
        return self.hits / self.count if self.count else math.nan

    def __str__(self) -> str:
        return f"{self.value:.2%} ({self.low:.2%} to {self.high:.2%}, n = {self.count})"


@dataclass(frozen=True)
class Predictions:
    """What a net said about every image of a split."""

    probabilities: np.ndarray  # (N, K) float64, rows sum to 1
    labels: np.ndarray  # (N,) true classes

    @property
    def predicted(self) -> np.ndarray:
        """(N,) the most probable class."""
        return self.probabilities.argmax(1)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) probability of the predicted class."""
        return self.probabilities.max(1)

    @property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> Share:
        """Share of images whose class was named."""
        return wilson(int(self.right.sum()), len(self.labels))


@dataclass(frozen=True)
class Pair:
    """Two classes, by their indices, that were taken for each other."""

    first: int  # is taken for `second` at least as often as the reverse
    second: int
    there: int  # images of `first` called `second`
    back: int  # images of `second` called `first`

    @property
    def total(self) -> int:
        """Confusions in either direction."""
        return self.there + self.back


@dataclass(frozen=True)
class Mistake:
    """One image whose class was missed."""

    index: int  # its place in the split
    truth: int
    predicted: int
    confidence: float  # probability given to the predicted class, in [0, 1]
    on_truth: float  # probability given to the true class


@dataclass(frozen=True)
class Luck:
    """What it gains to quote the best epoch of a run: each entry belongs to one random half of the test images."""

    claimed: np.ndarray  # (draws,) gain of the half's best epoch over the last one, on that half; never negative
    kept: np.ndarray  # (draws,) the same gain on the other half: what is left of it on images that had no say


def predictions(logits: np.ndarray, labels: np.ndarray) -> Predictions:
    """Turn logits (N, K), finite numbers, into probabilities by a softmax; labels (N,) are true classes 0 to K − 1."""
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"need logits (N, K) and labels (N,), got {logits.shape} and {labels.shape}")
    if labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ValueError(f"labels must lie in 0..{logits.shape[1] - 1}, got {labels.min()}..{labels.max()}")
    return Predictions(softmax(logits), labels)


def wilson(hits: int, count: int) -> Share:
    """A share with its 95 % score interval (Wilson 1927), which stays inside [0, 1] and is honest for few images.

    With a count of 0 the interval is all of [0, 1].
    """
    if not 0 <= hits <= count:
        raise ValueError(f"need 0 <= hits <= count, got hits={hits}, count={count}")
    if count == 0:
        return Share(0, 0, 0.0, 1.0)
    found = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    return Share(hits, count, float(found.low), float(found.high))


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Count what was called what: (classes, classes) int64, row = truth, column = prediction, the sum is N.

    `labels` and `predicted` are (N,) class indices, 0 to classes − 1.
    """
    labels, predicted = (np.asarray(indices).astype(np.int64) for indices in (labels, predicted))
    if labels.shape != predicted.shape:
        raise ValueError(f"every label needs one prediction, got {labels.shape} and {predicted.shape}")
    named = np.concatenate((labels, predicted))
    if named.size and not 0 <= named.min() <= named.max() < classes:
        raise ValueError(f"classes must lie in 0..{classes - 1}, got {named.min()}..{named.max()}")
    cells = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return cells.reshape(classes, classes)


def class_accuracy(matrix: np.ndarray) -> list[Share]:
    """For every class, the share of its images that were recognised: a confusion matrix's diagonal over its rows."""
    return [wilson(int(row[truth]), int(row.sum())) for truth, row in enumerate(matrix)]


def confused_pairs(matrix: np.ndarray) -> list[Pair]:
    """All pairs of classes that were taken for each other at least once, the most confused pair first."""
    pairs = []
    for a in range(len(matrix)):
        for b in range(a + 1, len(matrix)):
            first, second = (a, b) if matrix[a, b] >= matrix[b, a] else (b, a)
            pairs.append(Pair(first, second, int(matrix[first, second]), int(matrix[second, first])))
    return sorted((pair for pair in pairs if pair.total), key=lambda pair: -pair.total)


def ranked_mistakes(given: Predictions, count: int | None = None) -> list[Mistake]:
    """The wrong answers, the most confident first: at most `count` of them, or all."""
    wrong = np.flatnonzero(~given.right)
    ranked = wrong[np.argsort(-given.confidence[wrong], kind="stable")][:count]
    return [
        Mistake(
            index=int(i),
            truth=int(given.labels[i]),
            predicted=int(given.predicted[i]),
            confidence=float(given.confidence[i]),
            on_truth=float(given.probabilities[i, given.labels[i]]),
        )
        for i in ranked
    ]


def luck_of_best_epoch(right: np.ndarray, draws: int = 1000, seed: int = 0) -> Luck:
    """Choose the best epoch on random halves of the test images, and score it on the other half; gains in [-1, 1].

    The spread over draws says how much one choice varies, not how well the mean is known: all halves share the images.
    A choice on all images gains 1/√2 of this by chance if all epochs are equally good, since twice as many images leave
    less to it; and less than that where some really are better. Of equally good epochs the first is chosen.

    Args:
        right: (epochs, N) bool, whether each test image was right after each epoch; N at least 2.
        draws: number of random halves.
        seed: of their choice.
    """
    right = np.asarray(right)
    if right.ndim != 2 or len(right) < 1 or right.shape[1] < 2 or draws < 1:
        raise ValueError(f"need right as (epochs, N) with N >= 2, and draws >= 1, got {right.shape} and {draws}")
    count, half = right.shape[1], right.shape[1] // 2
    chosen = np.zeros((draws, count), np.float32)
    chosen[:, :half] = 1
    chosen = np.random.default_rng(seed).permuted(chosen, axis=1)
    hits = (chosen @ right.T.astype(np.float32)).astype(np.float64)  # (draws, epochs), whole numbers
    here, there = hits / half, (right.sum(1) - hits) / (count - half)
    rows, best = np.arange(draws), here.argmax(1)
    quoted, honest = here[rows, best], there[rows, best]
    return Luck(quoted - here[:, -1], honest - there[:, -1])
