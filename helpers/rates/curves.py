"""The curve of a learning-rate range test (Smith 2017, section 3.3) and what it suggests."""

from dataclasses import dataclass

import numpy as np

WINDOW = 0.03  # standard deviation of the smoothing window, as a share of the sweep
FEWEST = 15  # steps, below which no slope can be told from noise
BEGUN = 0.1  # share of the fall after which the loss counts as falling
LOST = 0.5  # share of the fall that is lost again where the loss counts as exploding
FAR = 1.5  # times the loss of the beginning, above which a net counts as another one afterwards
LEARNT = 0.03  # gain of accuracy below which the net has learnt nothing
NAMES = ("steepest", "valley", "minimum", "divergence")
# what may be wrong with a curve, and what to do
TOO_SHORT = f"the curve is too short: take {FEWEST} steps or more"
EXPLODES = "the loss explodes before it falls: lower start_lr, or take larger batches"
FLAT = "the curve is flat: raise end_lr, and check that labels and images belong together"
NOISY = "the curve is noisy: take more steps, larger batches or several seeds"
IGNORANT = "where its loss is lowest, the net has learnt nothing: take another seed, or lower start_lr"
UNFINISHED = "the curve ends before the loss explodes: raise end_lr"


@dataclass(frozen=True)
class Sweep:
    """Which rates a range test visits."""

    start_lr: float = 1e-4  # rate of the first step, above 0
    end_lr: float = 10.0  # rate of the last step, above start_lr
    steps: int = 100  # at least 2
    scale: str = "exp"  # "exp" multiplies the rate at every step, "linear" adds to it
    diverge_at: float = 4.0  # the sweep ends where the loss is so many times its lowest value, both smoothed

    def __post_init__(self) -> None:
        if not 0 < self.start_lr < self.end_lr:
            raise ValueError(f"need 0 < start_lr < end_lr, got start_lr={self.start_lr}, end_lr={self.end_lr}")

    @property
    def name(self) -> str:
        """What files call it, such as "exp-0.0001-10-100"."""
        return f"{self.scale}-{self.start_lr:g}-{self.end_lr:g}-{self.steps}"

    def rates(self) -> np.ndarray:
        """The rate of every step, (steps,) float64."""
        make = np.geomspace if self.scale == "exp" else np.linspace
        return make(self.start_lr, self.end_lr, self.steps)


@dataclass(frozen=True)
class Curve:
    """What a range test measured, up to the last loss that is a number."""

    lr: np.ndarray  # (S,) rate of every step that was taken; fewer than asked for where the loss exploded
    loss: np.ndarray  # (S,) finite; of the training batch, before its step, or of the validation images, after it
    accuracy: np.ndarray  # (S,) of the same images, in [0, 1]
    sweep: Sweep  # what was asked for
    about: str = ""  # what was swept, such as "davidnet-onecycle, CIFAR-10, seed 0"


@dataclass(frozen=True)
class Suggestions:
    """Rates read from a curve; None where the curve does not show them."""

    steepest: float | None = None  # the loss falls fastest per step (torch-lr-finder: on a lagging average)
    valley: float | None = None  # in the middle of the longest fall (after fastai's default, which counts steps)
    minimum: float | None = None  # the rate of the lowest loss; already too high to train at for long
    divergence: float | None = None  # beyond the minimum, half of the fall is lost again
    problems: tuple[str, ...] = ()

    def rates(self) -> dict[str, float]:
        """The suggestions there are, by name, in the order of NAMES."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name) is not None}


def suggest(curve: Curve) -> Suggestions:
    """Read a curve; one that is too short, explodes at once or is flat gives no rates, only words.

    An exponential sweep is read up to its explosion, as what comes back from there is another net; a linear sweep asks
    about a net under way, and is read to its end.
    """
    rates, losses, count = curve.lr, curve.loss, len(curve.loss)
    broke = count < curve.sweep.steps
    if count < FEWEST:
        return Suggestions(problems=(EXPLODES if broke else TOO_SHORT,))
    values = smooth(losses)
    first = float(losses[:3].mean())  # before the sweep has moved the net
    blast = int(np.append(values > FAR * first, True).argmax())  # the first step of an explosion; else count
    reach = max(blast, 1) if curve.sweep.scale == "exp" else count
    lowest = int(values[:reach].argmin())
    fall, noise = first - values[lowest], step_noise(losses[: max(lowest + 1, FEWEST)])
    if lowest < 3 or fall < max(0.02 * abs(first), 1.5 * noise):
        return Suggestions(problems=(EXPLODES if broke or reach < count or values[-1] > FAR * first else FLAT,))
    begun = int(np.append(0, np.flatnonzero(values[: lowest + 1] > first - BEGUN * fall))[-1])
    lost = np.flatnonzero(values[lowest:] > first - (1 - LOST) * fall)
    exploded = len(lost) > 0 or broke
    ignorant = smooth(curve.accuracy)[lowest] < curve.accuracy[:3].mean() + LEARNT
    doubts = {NOISY: noise > fall / 4, IGNORANT: ignorant, UNFINISHED: not exploded}
    return Suggestions(
        steepest=float(rates[begun + np.gradient(values)[begun : lowest + 1].argmin()]),
        valley=float(rates[valley(values[:reach])]),
        minimum=float(rates[lowest]),
        divergence=float(rates[lowest + lost[0] if len(lost) else -1]) if exploded else None,
        problems=tuple(doubt for doubt, holds in doubts.items() if holds),
    )


def smooth(values: np.ndarray) -> np.ndarray:
    """Fit a straight line around every step, with Gaussian weights (local linear regression, Cleveland 1979).

    Unlike a running average it shifts nothing to the right, and does not bend at the ends. Where the values (S,) leap,
    the line may run past all of them; it is kept between the lowest and the highest within two deviations.
    """
    if len(values) < 2:
        return np.array(values, dtype=float)
    fitted, width = [], max(1.0, WINDOW * len(values))
    for step in range(len(values)):
        distance = np.arange(len(values)) - step
        level = np.polyfit(distance, values, 1, w=np.exp(-((distance / width) ** 2) / 4))[1]  # residuals are squared
        near = values[abs(distance) <= 2 * width]
        fitted.append(level.clip(near.min(), near.max()))
    return np.array(fitted)


def valley(values: np.ndarray) -> int:
    """The step in the middle of the longest subsequence of ever lower values (after fastai's "valley")."""
    falls: list[list[int]] = []  # for every step, the longest that ends there
    for step, value in enumerate(values):
        falls.append(max((falls[k] for k in range(step) if values[k] > value), key=len, default=[]) + [step])
    longest = max(falls, key=len)
    return longest[(len(longest) - 1) // 2]


def step_noise(losses: np.ndarray) -> float:
    """Standard deviation of one step's loss around a smooth curve; an explosion, which is few steps, does not count."""
    return float(np.median(np.abs(np.diff(losses))) / (0.6745 * np.sqrt(2)))  # 0.6745: quartile of the normal curve
