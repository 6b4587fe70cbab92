"""What the explorer's page is made of, in small: two nets' made-up answers about made-up pictures."""

import numpy as np
from script import load


def arrays(total=600, most=300):
    """As docs/explorer/answers.py writes them; each net is right on about four images of five."""
    generator = np.random.default_rng(0)
    labels = np.arange(total) % 10
    found = {"labels": labels.astype(np.uint8)}
    answers = []
    for net in ("davidnet", "resnet18"):
        said = np.where(generator.random(total) < 0.8, labels, generator.integers(0, 10, total))
        said[[0, 1, 2, 3, 10]] = [5, 5, 3, 3, 5]  # image 3 is a cat and called one; the others are mistakes of both
        answers.append(said.astype(np.uint8))
        found[f"{net}/predicted"] = answers[-1]
    shown = load("docs/explorer/answers.py").chosen((np.stack(answers) != labels).any(0), labels, most)
    found |= {"shown": shown, "images": generator.integers(0, 255, (len(shown), 32, 32, 3)).astype(np.uint8)}
    for net, said in zip(("davidnet", "resnet18"), answers):
        odds = generator.random((len(shown), 10)) * 0.02
        odds[np.arange(len(shown)), said[shown]] = generator.uniform(0.3, 1, len(shown))
        found[f"{net}/probabilities"] = (odds / odds.sum(1, keepdims=True)).astype(np.float32)
        for name in ("answer", "truth"):
            found[f"{net}/{name}"] = generator.integers(0, 16, (len(shown), 80)).astype(np.uint8)
    return found
