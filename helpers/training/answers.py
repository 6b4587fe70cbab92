"""What a net said about every image of a split, small enough to be published: three bytes an image, and a label."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax


@dataclass(frozen=True)
class Answers:
    """One net's answers."""

    predicted: np.ndarray  # (N,) uint8, the most probable class
    confidence: np.ndarray  # (N,) float16, its probability, in [0, 1]
    labels: np.ndarray  # (N,) uint8, the true classes

    @property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return self.predicted == self.labels

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return float(self.right.mean())


def of_logits(logits: np.ndarray, labels: np.ndarray) -> Answers:
    """The answers that logits (N, K), K <= 256, give for labels (N,); chosen before anything is rounded."""
    logits, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] > 256 or labels.shape != logits.shape[:1]:
        raise ValueError(f"need logits (N, K) with K <= 256 and labels (N,), got {logits.shape} and {labels.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("logits must be finite numbers; a net that gives others has diverged")
    confidence = softmax(logits, axis=1).max(1).astype(np.float16)
    return Answers(logits.argmax(1).astype(np.uint8), confidence, labels.astype(np.uint8))


def packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the bytes of an .npz file, by name; the same arrays give the same bytes, whenever and wherever.

    They are not compressed, since versions of zlib differ in what they write.
    """
    file = io.BytesIO()
    np.savez(file, **{name: arrays[name] for name in sorted(arrays)})  # numpy dates every entry 1980
    return file.getvalue()
