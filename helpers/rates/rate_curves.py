"""The curve of a learning-rate range test, and what it suggests: numbers, and words where it cannot be read."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from helpers.files import choice, number

SCALES = ("exp", "linear")
WINDOW = 0.03  # standard deviation of the smoothing window, as a share of the sweep
FEWEST = 15  # steps, below which no slope can be told from noise
BEGUN = 0.1  # share of the fall after which the loss counts as falling
LOST = 0.5  # share of the fall that is lost again where the loss counts as exploding
FAR = 1.5  # times the loss of the beginning, above which a net counts as another one afterwards
LEARNT = 0.03  # gain of accuracy below which the net has learnt nothing
NAMES = ("onset", "steepest", "valley", "minimum_tenth", "minimum", "divergence")


@dataclass(frozen=True)
class Sweep:
    """Which rates a range test visits."""

    start_lr: float = 1e-4  # rate of the first step, above 0
    end_lr: float = 10.0  # rate of the last step, above start_lr
    steps: int = 100  # at least 2
    scale: str = "exp"  # "exp" multiplies the rate at every step, "linear" adds to it
    diverge_at: float = 4.0  # the sweep ends where the loss is so many times its lowest value, both smoothed

    def __post_init__(self) -> None:
        choice("scale", self.scale, SCALES)
        number("steps", self.steps, low=2, whole=True)
        number("diverge_at", self.diverge_at, low=1)
        for name in ("start_lr", "end_lr"):
            number(name, getattr(self, name), low=0)
        if not 0 < self.start_lr < self.end_lr:
            raise ValueError(f"need 0 < start_lr < end_lr, got start_lr={self.start_lr}, end_lr={self.end_lr}")

    def rates(self) -> np.ndarray:
        """The rate of every step, (steps,) float64."""
        make = np.geomspace if self.scale == "exp" else np.linspace
        return make(self.start_lr, self.end_lr, self.steps)


@dataclass(frozen=True)
class Curve:
    """What a range test measured."""

    lr: np.ndarray  # (S,) rate of every step that was taken; fewer than asked for where the loss exploded
    loss: np.ndarray  # (S,) of the training batch, before its step; or of the validation images, after it
    accuracy: np.ndarray  # (S,) of the same images, in [0, 1]
    sweep: Sweep  # what was asked for
    about: str = ""  # what was swept, such as "davidnet-onecycle, CIFAR-10, seed 0"

    @property
    def finite(self) -> int:
        """Steps before the first loss that is not a number."""
        return int(np.append(~np.isfinite(self.loss), True).argmax())


@dataclass(frozen=True)
class Suggestions:
    """Rates read from a curve; None where the curve does not show them."""

    onset: float | None = None  # the last rate before the loss has made a tenth of its fall
    steepest: float | None = None  # it falls fastest per step (torch-lr-finder looks for this, on a lagging average)
    valley: float | None = None  # in the middle of the longest fall (after fastai's default, which counts steps)
    minimum_tenth: float | None = None  # a tenth of the rate of the lowest loss (Gugger 2018)
    minimum: float | None = None  # the rate of the lowest loss; already too high to train at for long
    divergence: float | None = None  # beyond the minimum, half of the fall is lost again
    problems: tuple[str, ...] = ()  # what is wrong with the curve and what to do, one sentence each

    def rates(self) -> dict[str, float]:
        """The suggestions there are, by name, in the order of NAMES."""
        return {name: getattr(self, name) for name in NAMES if getattr(self, name) is not None}


@dataclass(frozen=True)
class Spread:
    """One suggestion of several sweeps, such as of several seeds."""

    middle: float  # geometric mean, as rates compare by ratios
    low: float  # the least
    high: float  # the greatest
    count: int  # sweeps that gave this suggestion

    @property
    def ratio(self) -> float:
        """high / low, at least 1."""
        return self.high / self.low


def suggest(curve: Curve) -> Suggestions:
    """Read a curve.

    The loss is smoothed by straight lines fitted around every step, so that no suggestion lags behind as it does with
    a running average. Its fall is counted from where the sweep began. An exponential sweep is read up to its explosion:
    it asks what the net bears as it was handed over, and what comes back from an explosion is another net. A linear
    sweep asks about a net under way, so it is read to its end. A curve that is too short, explodes at once or is flat
    gives no rates, only words.
    """
    count = curve.finite
    if count < FEWEST:
        return Suggestions(problems=(_why_short(curve),))
    rates, losses = curve.lr[:count], curve.loss[:count]
    values, slopes = smooth(losses)
    first = float(losses[:3].mean())  # before the sweep has moved the net
    blast = int(np.append(values > FAR * first, True).argmax())  # the first step of an explosion; else count
    reach = max(blast, 1) if curve.sweep.scale == "exp" else count
    lowest = int(values[:reach].argmin())
    fall, noise = first - values[lowest], step_noise(losses[: max(lowest + 1, FEWEST)])
    broke = count < len(curve.loss) or len(curve.loss) < curve.sweep.steps
    if lowest < 3 or fall < max(0.02 * abs(first), 1.5 * noise):
        exploded = broke or reach < count or values[-1] > FAR * first
        return Suggestions(problems=(_why_flat(curve, first, min(blast, count - 1) if exploded else None),))
    falling = slice(_last(values[: lowest + 1] > first - BEGUN * fall), lowest + 1)
    lost = lowest + np.flatnonzero(values[lowest:] > first - (1 - LOST) * fall)
    end = int(lost[0]) if len(lost) else count - 1
    exploded = len(lost) > 0 or broke
    return Suggestions(
        onset=float(rates[falling.start]),
        steepest=float(rates[falling][slopes[falling].argmin()]),
        valley=float(rates[valley(values[:reach])]),
        minimum_tenth=float(rates[lowest] / 10),
        minimum=float(rates[lowest]),
        divergence=float(rates[end]) if exploded else None,
        problems=_doubts(curve, lowest, fall, noise, exploded),
    )


def spread(suggestions: Sequence[Suggestions]) -> dict[str, Spread]:
    """How far the suggestions of several sweeps lie apart, by name; those that no sweep gave are left out."""
    found = {name: [s.rates()[name] for s in suggestions if name in s.rates()] for name in NAMES}
    return {
        name: Spread(statistics.geometric_mean(rates), min(rates), max(rates), len(rates))
        for name, rates in found.items()
        if rates
    }


def smooth(values: np.ndarray, window: float = WINDOW) -> tuple[np.ndarray, np.ndarray]:
    """Fit a straight line around every step, with Gaussian weights (local linear regression, Cleveland 1979).

    Unlike a running average this shifts nothing to the right, and does not bend at the ends. Where the values leap, the
    line may run past all of them; what it says is kept between the lowest and the highest within two deviations.

    Takes values (S,), finite, and returns the lines' values and their slopes per step, each (S,). `window` is the
    standard deviation of the weights, as a share of the S steps; it is one step at least.
    """
    if not len(values):
        return np.empty(0), np.empty(0)
    steps = np.arange(len(values))
    distance = steps - steps[:, None]
    width = max(1.0, window * len(values))
    weights = np.exp(-0.5 * (distance / width) ** 2)
    total, first, second = weights.sum(1), (weights * distance).sum(1), (weights * distance**2).sum(1)
    level, tilt = weights @ values, (weights * distance) @ values
    scale = total * second - first**2
    fitted, near = (second * level - first * tilt) / scale, abs(distance) <= 2 * width
    low, high = np.where(near, values, np.inf).min(1), np.where(near, values, -np.inf).max(1)
    return fitted.clip(low, high), (total * tilt - first * level) / scale


def valley(values: np.ndarray) -> int:
    """The step in the middle of the longest subsequence of ever lower values (after fastai's "valley")."""
    lengths, parents = np.ones(len(values), dtype=int), np.arange(len(values))
    for step in range(1, len(values)):
        higher = np.flatnonzero(values[:step] > values[step])
        if len(higher):
            best = higher[lengths[higher].argmax()]
            lengths[step], parents[step] = lengths[best] + 1, best
    path = [int(lengths.argmax())]
    while parents[path[-1]] != path[-1]:
        path.append(int(parents[path[-1]]))
    return path[len(path) // 2]


def step_noise(losses: np.ndarray) -> float:
    """Standard deviation of one step's loss around a smooth curve, from differences of neighbours.

    From their median size, so that an explosion, which is few steps, does not count as noise.
    """
    return float(np.median(np.abs(np.diff(losses))) / (0.6745 * np.sqrt(2)))  # 0.6745: quartile of the normal curve


def _last(condition: np.ndarray) -> int:
    """The last place where the condition holds; 0 where it never does."""
    places = np.flatnonzero(condition)
    return int(places[-1]) if len(places) else 0


def _why_short(curve: Curve) -> str:
    if curve.finite < len(curve.loss) or len(curve.loss) < curve.sweep.steps:
        return _at_once(curve, curve.lr[-1])
    return f"the curve is too short: {curve.finite} steps, and {FEWEST} are the fewest to read a slope from; take more"


def _at_once(curve: Curve, rate: float) -> str:
    outlast = f", or raise diverge_at, now {curve.sweep.diverge_at:g}, to see whether it comes back"
    advice = f"lower start_lr, now {curve.lr[0]:.2g}" + (outlast if curve.sweep.scale == "linear" else "")
    return f"the loss explodes at once, by the rate {rate:.2g}: {advice}"


def _why_flat(curve: Curve, first: float, blast: int | None) -> str:
    """Why there is no fall to read; `blast` is the step by which the loss exploded, if it did."""
    if blast is not None and blast < FEWEST:
        return _at_once(curve, curve.lr[blast])
    if blast is not None:
        return (
            f"the loss of {first:.3g} hardly falls, or no more than it scatters, before it explodes by the rate "
            f"{curve.lr[blast]:.2g}: take larger batches, several seeds, or the loss of the training batches"
        )
    return (
        f"the curve is flat: no rate from {curve.lr[0]:.2g} to {curve.lr[-1]:.2g} lowers the loss of {first:.3g} "
        "beyond its noise; raise end_lr, and check that labels and images belong together"
    )


def _doubts(curve: Curve, lowest: int, fall: float, noise: float, exploded: bool) -> tuple[str, ...]:
    doubts = []
    if noise > fall / 4:
        doubts.append(
            f"the curve is noisy: single steps scatter by {noise:.2g} while the loss falls by {fall:.2g}; "
            "take more steps, larger batches or a validation loader, and several seeds"
        )
    accuracy = smooth(curve.accuracy[: curve.finite])[0][lowest]
    if accuracy < curve.accuracy[:3].mean() + LEARNT:
        doubts.append(
            f"where its loss is lowest, the net has learnt nothing (accuracy {accuracy:.0%}, as in the beginning): "
            "take another seed, or lower start_lr"
        )
    if not exploded:
        doubts.append(f"the curve ends before the loss explodes: raise end_lr, now {curve.sweep.end_lr:.2g}")
    return tuple(doubts)
