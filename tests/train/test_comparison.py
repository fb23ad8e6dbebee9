"""The paired test: what it promotes, what it keeps, and that its two promises hold."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from containers.train import comparison
from containers.train.comparison import compare, decide, detectable_gain

LEVEL = 0.9


def pairs(photographs: int, gain: float, discordance: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each of two models counts a photograph exactly: the first is better by ``gain`` on average."""
    up, down = (discordance + gain) / 2, (discordance - gain) / 2
    drawn = np.random.default_rng(seed).choice([1, -1, 0], photographs, p=[up, down, 1 - up - down])
    return drawn > 0, drawn < 0


def alone(photographs: int) -> list[str]:
    return [str(index) for index in range(photographs)]


def test_a_clear_gain_is_promoted_with_its_figures():
    challenger, other = np.arange(100) < 60, np.arange(100) < 40
    found = compare(challenger, other, alone(100), LEVEL)
    assert found["gain"]["value"] == pytest.approx(0.2) and 0.1 < found["gain"]["low"] < 0.2
    assert (found["only_challenger"], found["only_other"]) == (20, 0)
    assert found["accuracies"]["challenger"]["value"] == pytest.approx(0.6)
    decision = decide("new", "old", found)
    assert decision["promote"] is True
    assert "new counts 60.0 % of 100 test photographs exactly, against 40.0 % for old" in decision["reason"]
    assert "a gain of +20.0 points" in decision["reason"] and "90 % confidence" in decision["reason"]


@pytest.mark.parametrize("change", [0, -0.2])
def test_what_is_equal_or_worse_is_kept_with_the_gain_that_would_have_been_found(change):
    challenger, other = pairs(200, change, 0.3, seed=1)
    found = compare(challenger, other, alone(200), LEVEL)
    decision = decide("new", "old", found)
    assert decision["promote"] is False and "not above zero" in decision["reason"]
    assert f"a true gain of {100 * found['detectable_gain']:.1f} points" in decision["reason"]


def test_a_model_against_itself_gains_nothing():
    same = np.arange(50) < 20
    found = compare(same, same, alone(50), LEVEL)
    assert found["gain"] == {"value": 0, "low": 0} and not decide("a", "a", found)["promote"]
    assert 0 < found["detectable_gain"] < 0.2


def test_photographs_of_one_bin_are_no_further_evidence():
    challenger, other = pairs(150, 0.1, 0.3, seed=2)
    once = compare(challenger, other, alone(150), LEVEL)
    copied = compare(challenger.repeat(4), other.repeat(4), np.repeat(alone(150), 4).tolist(), LEVEL)
    assert copied["gain"]["value"] == once["gain"]["value"]
    assert copied["gain"]["low"] == pytest.approx(once["gain"]["low"], abs=0.01)
    assert copied["detectable_gain"] == pytest.approx(once["detectable_gain"], rel=0.1)


def test_a_higher_level_asks_for_more():
    challenger, other = pairs(150, 0.08, 0.3, seed=2)
    low, high = (compare(challenger, other, alone(150), level) for level in (0.8, 0.99))
    assert low["gain"]["low"] > high["gain"]["low"]
    assert low["detectable_gain"] < high["detectable_gain"]


@pytest.mark.parametrize(("discordance", "photographs"), [(0.3, 1000), (0.05, 300), (0.5, 80)])
def test_the_detectable_gain_solves_connors_sample_size(discordance, photographs):
    gain = detectable_gain(discordance, photographs, LEVEL)
    z_level, z_power = (NormalDist().inv_cdf(p) for p in (LEVEL, comparison.POWER))
    spread = math.sqrt(discordance - gain**2)
    assert photographs == pytest.approx(
        (z_level * math.sqrt(discordance) + z_power * spread) ** 2 / gain**2, rel=1e-6
    )


def test_a_handful_of_photographs_detects_nothing():
    assert detectable_gain(0.5, 1, LEVEL) == 1


def test_it_promotes_as_rarely_and_finds_as_often_as_it_says():
    """Simulated, with fixed seeds; 2,000 and 500 draws are in the docstring of ``compare``."""

    def promoted(gain: float, times: int) -> float:
        bounds = [
            compare(*pairs(300, gain, 0.3, seed), alone(300), LEVEL)["gain"]["low"] for seed in range(times)
        ]
        return float(np.mean(np.array(bounds) > 0))

    assert promoted(0.0, 150) == pytest.approx(1 - LEVEL, abs=0.05)
    assert promoted(detectable_gain(0.3, 300, LEVEL), 80) == pytest.approx(comparison.POWER, abs=0.1)
