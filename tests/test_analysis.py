"""Predictions → class-wise accuracy, confusions, ranked mistakes; checked by hand, by scipy and by pandas."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from helpers.results import analysis
from helpers.training.answers import of_logits

# six images of three classes, worked by hand below: truth 0 0 1 1 2 2, answers 0 1 1 1 0 2
LOGITS = np.array([[3, 0, 0], [0, 2, 0], [0, 5, 0], [0, 1, 0], [4, 0, 0], [0, 0, 1]], dtype=np.float32)
LABELS = np.array([0, 0, 1, 1, 2, 2])


@pytest.fixture
def answers() -> analysis.Predictions:
    return analysis.predictions(LOGITS, LABELS)


@st.composite
def labelled_predictions(draw):
    classes = draw(st.integers(2, 6))
    count = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.normal(scale=3, size=(count, classes)), rng.integers(classes, size=count)


def test_predictions_by_hand(answers):
    np.testing.assert_allclose(answers.probabilities, special.softmax(LOGITS.astype(float), axis=1), rtol=1e-12)
    assert answers.predicted.tolist() == [0, 1, 1, 1, 0, 2]
    assert answers.right.tolist() == [True, False, True, True, False, True]
    assert answers.confidence[0] == pytest.approx(np.exp(3) / (np.exp(3) + 2))
    assert (answers.accuracy.hits, answers.accuracy.count) == (4, 6)


def test_large_logits_do_not_overflow():
    given_answers = analysis.predictions(np.array([[1000.0, 999.0], [-1000.0, -1001.0]]), np.array([0, 1]))
    assert given_answers.probabilities == pytest.approx(special.softmax([[1.0, 0.0], [1.0, 0.0]], axis=1))


@pytest.mark.parametrize(
    "logits, labels, said",
    [
        (np.zeros((3, 2)), np.zeros(2, int), r"need logits \(N, K\) and labels \(N,\), got \(3, 2\) and \(2,\)"),
        (np.zeros(3), np.zeros(3, int), "need logits"),
        (np.zeros((2, 2)), np.array([0, 2]), r"labels must lie in 0\.\.1, got 0\.\.2"),
        (np.zeros((2, 2)), np.array([-1, 0]), r"got -1\.\.0"),
    ],
)
def test_what_does_not_fit_is_refused(logits, labels, said):
    with pytest.raises(ValueError, match=said):
        analysis.predictions(logits, labels)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_agrees_with_scipy(hits, count):
    hits = min(hits, count)
    share = analysis.wilson(hits, count)
    expected = stats.binomtest(hits, count).proportion_ci(0.95, method="wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= share.low <= share.value <= share.high <= 1


def test_wilson_at_the_ends():
    assert analysis.wilson(0, 20).low == 0 and analysis.wilson(20, 20).high == 1
    nothing = analysis.wilson(0, 0)
    assert (nothing.low, nothing.high) == (0, 1) and np.isnan(nothing.value)


@pytest.mark.parametrize("hits, count", [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(hits, count):
    with pytest.raises(ValueError, match="need 0 <= hits"):
        analysis.wilson(hits, count)


def test_a_share_as_text():
    assert str(analysis.wilson(90, 100)) == "90.00% (82.56% to 94.48%, n = 100)"


def test_confusion_matrix_by_hand(answers):
    matrix = analysis.confusion_matrix(answers.labels, answers.predicted, 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]


@pytest.mark.parametrize("labels, predicted", [([0, 1], [11, 2]), ([-1], [0]), ([10], [0])])
def test_confusion_matrix_refuses_classes_that_are_not_there(labels, predicted):
    with pytest.raises(ValueError, match=r"classes must lie in 0\.\.9"):
        analysis.confusion_matrix(labels, predicted, 10)


def test_confusion_matrix_counts_bytes_of_many_classes():
    matrix = analysis.confusion_matrix(np.array([50], np.uint8), np.array([7], np.uint8), 100)
    assert matrix[50, 7] == matrix.sum() == 1


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_a_broken_net_has_no_answers(broken):
    logits = np.array([[0.0, 1.0], [broken, 0.0]])
    for ask in (analysis.predictions, of_logits):
        with pytest.raises(ValueError, match="a net that gives others has diverged"):
            ask(logits, np.zeros(2, int))


def test_confusion_matrix_keeps_absent_classes_and_refuses_unequal_lengths():
    assert analysis.confusion_matrix([0], [0], 3).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    with pytest.raises(ValueError, match="every label needs one prediction"):
        analysis.confusion_matrix([0, 1], [0], 3)


@given(labelled_predictions())
def test_confusion_matrix_agrees_with_pandas(drawn):
    logits, labels = drawn
    answers, classes = analysis.predictions(logits, labels), logits.shape[1]
    expected = pd.crosstab(labels, answers.predicted).reindex(
        index=range(classes), columns=range(classes), fill_value=0
    )
    matrix = analysis.confusion_matrix(labels, answers.predicted, classes)
    np.testing.assert_array_equal(matrix, expected.to_numpy())
    assert matrix.trace() == answers.accuracy.hits and matrix.sum() == answers.accuracy.count


def test_class_accuracy_is_per_true_class(answers):
    matrix = analysis.confusion_matrix(answers.labels, answers.predicted, 3)
    shares = analysis.class_accuracy(matrix)
    assert [(share.hits, share.count) for share in shares] == [(1, 2), (2, 2), (1, 2)]
    assert shares[0] == analysis.wilson(1, 2)


@given(labelled_predictions())
def test_class_accuracies_weighted_by_samples_give_the_accuracy(drawn):
    answers = analysis.predictions(*drawn)
    shares = analysis.class_accuracy(
        analysis.confusion_matrix(answers.labels, answers.predicted, answers.probabilities.shape[1])
    )
    assert sum(share.hits for share in shares) / sum(share.count for share in shares) == answers.accuracy.value


def test_confused_pairs_count_both_directions_and_lead_with_the_larger():
    matrix = np.array([[9, 1, 0, 0], [4, 9, 0, 0], [0, 0, 9, 3], [0, 0, 3, 9]])
    first, second = analysis.confused_pairs(matrix)
    assert first == analysis.Pair(first=2, second=3, there=3, back=3) and first.total == 6
    assert second == analysis.Pair(first=1, second=0, there=4, back=1) and second.total == 5


@given(labelled_predictions())
def test_confused_pairs_hold_every_error_once(drawn):
    logits, labels = drawn
    answers = analysis.predictions(logits, labels)
    pairs = analysis.confused_pairs(analysis.confusion_matrix(labels, answers.predicted, logits.shape[1]))
    assert sum(pair.total for pair in pairs) == (~answers.right).sum()
    assert [pair.total for pair in pairs] == sorted((pair.total for pair in pairs), reverse=True)
    assert all(pair.there >= pair.back for pair in pairs)


def test_ranked_mistakes_by_hand(answers):
    first, second = analysis.ranked_mistakes(answers)
    assert (first.index, first.truth, first.predicted) == (4, 2, 0)
    assert (second.index, second.truth, second.predicted) == (1, 0, 1)
    assert first.confidence == pytest.approx(np.exp(4) / (np.exp(4) + 2))
    assert first.on_truth == pytest.approx(1 / (np.exp(4) + 2))
    assert analysis.ranked_mistakes(answers, 1) == [first]


@given(labelled_predictions())
def test_ranked_mistakes_are_all_wrong_and_in_order(drawn):
    answers = analysis.predictions(*drawn)
    mistakes = analysis.ranked_mistakes(answers)
    assert sorted(mistake.index for mistake in mistakes) == np.flatnonzero(~answers.right).tolist()
    confidences = [mistake.confidence for mistake in mistakes]
    assert confidences == sorted(confidences, reverse=True)
    assert all(mistake.on_truth <= mistake.confidence for mistake in mistakes)


def test_no_mistakes_no_rank():
    assert analysis.ranked_mistakes(analysis.predictions(np.eye(3), np.arange(3))) == []


def test_luck_by_hand():
    """Two images: each half is one of them. Epoch 1 knows the first, epoch 2 the second, epoch 3 neither."""
    luck = analysis.luck_of_best_epoch(np.array([[1, 0], [0, 1], [0, 0]], bool), draws=20)
    assert (luck.claimed == 1).all() and (luck.kept == 0).all()  # the best epoch of one image is wrong on the other


def test_a_best_epoch_that_is_better_everywhere_is_no_luck():
    right = np.zeros((3, 10), bool)
    right[1] = True
    luck = analysis.luck_of_best_epoch(right, draws=5)
    assert (luck.claimed == 1).all() and (luck.kept == 1).all()


def test_one_epoch_leaves_no_choice():
    luck = analysis.luck_of_best_epoch(np.random.default_rng(0).random((1, 101)) < 0.7, draws=200)
    assert (luck.claimed == 0).all() and (luck.kept == 0).all()


@pytest.mark.parametrize("epochs, count, share", [(20, 1000, 0.8), (50, 400, 0.5)])
def test_luck_of_equally_good_epochs_is_that_of_the_largest_of_so_many_draws(epochs, count, share):
    """Independent epochs of one true accuracy: nothing is gained, and the choice adds the mean of the largest."""
    rng = np.random.default_rng(0)
    runs = [analysis.luck_of_best_epoch(rng.random((epochs, count)) < share, draws=20, seed=k) for k in range(60)]
    claimed, kept = (np.array([getattr(run, name).mean() for run in runs]) for name in ("claimed", "kept"))
    deviation = np.sqrt(share * (1 - share) / (count // 2))
    largest = deviation * rng.normal(size=(20_000, epochs)).max(1).mean()
    assert (claimed - kept).mean() == pytest.approx(largest, rel=0.12)
    assert abs(kept.mean()) < 4 * kept.std() / np.sqrt(len(kept))


@given(st.integers(1, 6), st.integers(2, 40), st.integers(0, 2**32 - 1))
def test_luck_agrees_with_a_plain_loop(epochs, count, seed):
    right = np.random.default_rng(seed).random((epochs, count)) < 0.6
    luck = analysis.luck_of_best_epoch(right, draws=4, seed=seed)
    order = np.tile(np.repeat([True, False], [count // 2, count - count // 2]), (4, 1)).astype(np.float32)
    halves = np.random.default_rng(seed).permuted(order, axis=1).astype(bool)
    for k, half in enumerate(halves):
        here, there = right[:, half].mean(1), right[:, ~half].mean(1)
        best = int(np.argmax(right[:, half].sum(1)))
        assert luck.claimed[k] == pytest.approx(here[best] - here[-1]) and luck.claimed[k] >= 0
        assert luck.kept[k] == pytest.approx(there[best] - there[-1])


@pytest.mark.parametrize("shape, draws", [((3,), 5), ((0, 4), 5), ((3, 1), 5), ((3, 4), 0)])
def test_luck_needs_epochs_images_and_draws(shape, draws):
    with pytest.raises(ValueError, match=r"need right as \(epochs, N\) with N >= 2, and draws >= 1, got"):
        analysis.luck_of_best_epoch(np.ones(shape, bool), draws)
