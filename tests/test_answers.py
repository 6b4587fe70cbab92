"""What a net said, kept small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.results import analysis
from helpers.training import answers

LOGITS = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 1.0, 1.0001]])


def test_answers_by_hand():
    found = answers.of_logits(LOGITS, np.array([0, 1, 2]))
    assert found.predicted.tolist() == [0, 2, 2] and found.predicted.dtype == np.uint8
    assert found.right.tolist() == [True, False, True] and found.accuracy == pytest.approx(2 / 3)
    assert found.confidence[0] == pytest.approx(np.exp(2) / (np.exp(2) + 2), abs=1e-3)
    assert found.confidence.dtype == np.float16


@given(st.integers(1, 40), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_answers_are_those_of_the_analysis(count, classes, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(scale=4, size=(count, classes)), rng.integers(classes, size=count)
    found, expected = answers.of_logits(logits, labels), analysis.predictions(logits, labels)
    np.testing.assert_array_equal(found.predicted, expected.predicted)
    np.testing.assert_allclose(found.confidence, expected.confidence, rtol=1e-3)
    assert found.accuracy == expected.accuracy.value


@pytest.mark.parametrize("logits, labels", [(np.zeros(3), np.zeros(3)), (LOGITS, [0, 1]), (np.zeros((1, 257)), [0])])
def test_what_does_not_fit_is_refused(logits, labels):
    with pytest.raises(ValueError, match=r"need logits \(N, K\) with K <= 256 and labels \(N,\), got"):
        answers.of_logits(logits, labels)


def test_packed_arrays_come_back_and_do_not_know_the_time(monkeypatch, tmp_path):
    arrays = {"b/x": np.arange(5, dtype=np.uint8), "a": np.linspace(0, 1, 3).astype(np.float16)}
    once = answers.packed(arrays)
    monkeypatch.setattr("time.time", lambda: 2e9)
    assert answers.packed(dict(reversed(arrays.items()))) == once
    path = tmp_path / "arrays.npz"
    path.write_bytes(once)
    with np.load(path) as stored:
        assert {name: stored[name].tolist() for name in stored} == {name: a.tolist() for name, a in arrays.items()}
