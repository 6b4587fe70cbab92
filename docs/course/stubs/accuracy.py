def accuracy(logits):  # (N, 10), a row for each test image
    """The share of `test_labels` that the largest logit of each row hits, a number from 0 to 1."""
    return float("nan")  # yours


truth = nn.functional.one_hot(test_labels, len(ds.classes))
right = accuracy(truth) == 1 and accuracy(1 - truth) == 0
print("accuracy: right" if right else "accuracy: not yet; everything runs, but the curve stays empty")
