"""Guesses: kept before the answer shows, not after, and counted in the end."""

from helpers.results import guesses


def test_a_guess_is_kept_until_its_answer_shows(own_runs):
    field = guesses.ask("00 accuracy")
    field.value = "55"
    field.value = "60"
    assert guesses.kept() == {"00 accuracy": {"guess": "60"}} and (own_runs / "guesses.json").exists()
    assert guesses.answer("00 accuracy", 66.6) == "You guessed 60; it is 66.6."
    field.value = "66.6"
    assert guesses.kept()["00 accuracy"] == {"guess": "60", "answer": 66.6}
    assert guesses.ask("00 accuracy").value == "60"  # also in another session


def test_a_field_that_was_cleared_holds_no_guess(own_runs):
    field = guesses.ask("00 accuracy")
    field.value = "55"
    field.value = ""
    assert guesses.answer("00 accuracy", 66.6) == "00 accuracy: 66.6 (no guess was kept)"


def test_without_a_reader_nothing_is_written(own_runs):
    guesses.ask("00 accuracy")
    assert guesses.answer("00 accuracy", 66.6) == "00 accuracy: 66.6 (no guess was kept)"
    assert guesses.score() == "no guess was kept"
    assert not own_runs.exists()


def test_the_score_counts_words_and_numbers_within_a_fifth():
    told = {"a": ("60 %", 66.6), "b": ("30", 66.6), "c": ("Cat", "cat"), "d": ("dog", "cat"), "e": ("many", 3.0)}
    for name, (guess, truth) in told.items():
        guesses.ask(name).value = guess
        guesses.answer(name, truth)
    guesses.ask("not yet answered").value = "7"
    assert guesses.score() == "2 of 5 guesses hit" and guesses.score(0.6) == "3 of 5 guesses hit"
