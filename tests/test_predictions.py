"""Predictions → class-wise accuracy, confusions, ranked mistakes; checked by hand, by scipy and by pandas."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from helpers.results import predictions
from helpers.results.intervals import share
from helpers.training import store

# six images of three classes, worked by hand below: truth 0 0 1 1 2 2, answers 0 1 1 1 0 2
LOGITS = np.array([[3, 0, 0], [0, 2, 0], [0, 5, 0], [0, 1, 0], [4, 0, 0], [0, 0, 1]], dtype=np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2])
SIX = store.of_logits(LOGITS, LABELS)


@st.composite
def drawn(draw):
    """Logits and labels of up to 60 images, and the number of classes."""
    classes, count = draw(st.integers(2, 6)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(scale=3, size=(count, classes)), rng.integers(classes, size=count), classes


def test_predictions_by_hand():
    np.testing.assert_allclose(SIX.probabilities, special.softmax(LOGITS.astype(float), axis=1), rtol=1e-12)
    assert SIX.predicted.tolist() == [0, 1, 1, 1, 0, 2]
    assert SIX.right.tolist() == [True, False, True, True, False, True] and SIX.accuracy == pytest.approx(4 / 6)
    assert SIX.confidence[0] == pytest.approx(np.exp(3) / (np.exp(3) + 2))
    assert predictions.accuracy(SIX) == share(4, 6)


def test_large_logits_do_not_overflow():
    found = store.of_logits(np.array([[1000.0, 999.0], [-1000.0, -1001.0]]), np.array([0, 1]))
    assert found.probabilities == pytest.approx(special.softmax([[1.0, 0.0], [1.0, 0.0]], axis=1))


@given(drawn())
def test_what_a_run_keeps_are_its_answers_rounded(made):
    logits, labels, _ = made
    found = store.of_logits(logits, labels)
    with tempfile.TemporaryDirectory() as folder:
        run = store.Run(Path(folder))
        run.finish({}, found, found.predicted[None].astype(np.uint8))
        kept = run.answers()
    assert (kept.predicted.dtype, kept.confidence.dtype, kept.labels.dtype) == (np.uint8, np.float16, np.uint8)
    np.testing.assert_array_equal(kept.predicted, found.predicted)
    np.testing.assert_allclose(kept.confidence, found.confidence, rtol=1e-3)
    assert kept.accuracy == found.accuracy and kept.probabilities is None


@pytest.mark.parametrize("logits, labels", [(np.zeros(3), np.zeros(3)), (LOGITS, [0, 1]), (np.zeros((1, 257)), [0])])
def test_what_does_not_fit_is_refused(logits, labels):
    with pytest.raises(ValueError, match=r"need finite logits \(N, K <= 256\) and labels \(N,\), got"):
        store.of_logits(logits, labels)


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_net_has_no_answers(broken):
    with pytest.raises(ValueError, match="need finite logits"):
        store.of_logits(np.array([[0.0, 1.0], [broken, 0.0]]), np.zeros(2, int))


def test_packed_arrays_come_back_and_do_not_know_the_time(monkeypatch, tmp_path):
    arrays = {"b/x": np.arange(5, dtype=np.uint8), "a": np.linspace(0, 1, 3).astype(np.float16)}
    once = store.packed(arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert store.packed(dict(reversed(arrays.items()))) == once
    path = tmp_path / "arrays.npz"
    path.write_bytes(once)
    with np.load(path) as stored:
        assert {name: stored[name].tolist() for name in stored} == {name: a.tolist() for name, a in arrays.items()}


def test_confusion_by_hand():
    assert predictions.confusion(SIX, 3).tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]
    assert predictions.confusion(SIX, 4)[3].tolist() == [0, 0, 0, 0]
    with pytest.raises(IndexError):
        predictions.confusion(SIX, 2)


@given(drawn())
def test_confusion_agrees_with_pandas_also_of_what_a_run_keeps(made):
    logits, labels, classes = made
    found = store.of_logits(logits, labels)
    every = range(classes)
    expected = pd.crosstab(labels, found.predicted).reindex(index=every, columns=every, fill_value=0)
    matrix = predictions.confusion(found, classes)
    np.testing.assert_array_equal(matrix, expected.to_numpy())
    small = store.Answers(found.predicted.astype(np.uint8), found.confidence, found.labels.astype(np.uint8))
    np.testing.assert_array_equal(matrix, predictions.confusion(small, classes))


def test_class_accuracy_is_per_true_class_and_the_best_is_first():
    found = predictions.class_accuracy(predictions.confusion(SIX, 3), ["a", "b", "c"])
    assert list(found.items()) == [("b", share(2, 2)), ("a", share(1, 2)), ("c", share(1, 2))]


def test_confused_pairs_count_both_directions_and_lead_with_the_larger():
    matrix = np.array([[9, 1, 0, 0], [4, 9, 0, 0], [0, 0, 9, 3], [0, 0, 3, 9]])
    pairs = predictions.confused_pairs(matrix, "abcd")
    assert pairs.to_numpy().tolist() == [["c", "d", 3, 3, 6], ["b", "a", 4, 1, 5]] and list(pairs.index) == [1, 2]
    assert len(predictions.confused_pairs(np.eye(3, dtype=int), "abc")) == 0


@given(drawn())
def test_confused_pairs_hold_every_error_once(made):
    logits, labels, classes = made
    found = store.of_logits(logits, labels)
    pairs = predictions.confused_pairs(predictions.confusion(found, classes), range(classes))
    assert pairs["together"].sum() == (~found.right).sum() and pairs["together"].is_monotonic_decreasing
    assert (pairs["first called second"] >= pairs["second called first"]).all()


def test_ranked_mistakes_by_hand():
    assert predictions.ranked_mistakes(SIX).tolist() == [4, 1]
    assert predictions.ranked_mistakes(SIX, 1).tolist() == [4]
    assert len(predictions.ranked_mistakes(store.of_logits(np.eye(3), np.arange(3)))) == 0


@given(drawn())
def test_ranked_mistakes_are_all_wrong_and_in_order(made):
    found = store.of_logits(*made[:2])
    places = predictions.ranked_mistakes(found)
    assert sorted(places) == np.flatnonzero(~found.right).tolist()
    assert (np.diff(found.confidence[places]) <= 0).all()
