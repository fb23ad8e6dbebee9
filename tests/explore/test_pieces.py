"""What a search is made of, without AutoGluon: hyperparameters, trials, leaderboard, recipe."""

import json
from dataclasses import replace

import pytest

from containers.common.duration import Seconds
from containers.common.errors import DataError, SettingsError
from containers.explore import hyperparameters, leaderboard, photographs, recipe, space
from containers.explore.hyperparameters import Hyperparameters
from containers.train import hyperparameters as trainers
from tests.explore.rows import row


@pytest.mark.parametrize(
    ("text", "seconds"), [("20m", 1200), ("90s", 90), ("90", 90), ("1.5h", 5400), (" 2h ", 7200)]
)
def test_budgets(text, seconds):
    assert Seconds.parse(text).value == seconds


def test_sagemakers_strings_are_read():
    hp = hyperparameters.parse(
        {"architectures": "resnet18, vgg11_bn", "image_sizes": "96,128", "learning_rates": "1e-4,1e-2"}
        | {"pretrained": "both", "budget": "2m", "subset": "0", "first_share": "0.5"}
    )
    assert hp.architectures == ("resnet18", "vgg11_bn") and hp.image_sizes == (96, 128)
    assert hp.learning_rates == (1e-4, 1e-2) and hp.pretrained == "both" and hp.budget == Seconds(120)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epoch": "3"}, "unknown hyperparameter epoch; known: profile, budget"),
        ({"budget": "soon"}, "'soon' is no duration, such as 20m"),
        ({"budget": "0m"}, "no duration"),
        ({"image_sizes": "128,big"}, "image_sizes=128,big"),
        ({"image_sizes": "16"}, "at least 32 each"),
        ({"architectures": ","}, "at least one name"),
        ({"learning_rates": "0.1,0.01"}, "the lowest and the highest"),
        ({"pretrained": "maybe"}, "one of yes, no, both"),
        ({"profile": "deep"}, "one of light, wide"),
        ({"trials": "many"}, "trials=many"),
    ],
)
def test_what_cannot_be_searched_is_refused(given, said):
    with pytest.raises(SettingsError, match=said):
        hyperparameters.parse(given)


def test_profiles_are_defaults_that_single_values_override():
    wide = hyperparameters.parse({"profile": "wide", "trials": "3"})
    assert wide.trials == 3 and wide.survivors == hyperparameters.PROFILES["wide"]["survivors"]
    for family in ("resnet18", "resnet34", "resnet50", "vgg", "efficientnet_b", "tf_efficientnet_lite",
                   "mobilenet", "convnext"):  # fmt: skip
        assert any(name.startswith(family) for name in wide.architectures), family
    light = hyperparameters.parse({})
    assert light.image_sizes == (128,) and 0 < light.subset < 4000 and len(light.architectures) < 8


def test_each_architecture_is_tried_unless_fewer_trials_are_asked_for():
    listed = ",".join(f"net{number}" for number in range(15))
    hp = hyperparameters.parse({"architectures": listed})
    tried = [trial.architecture for trial in space.first_round(hp, photographs=100)[1:]]
    assert tried == list(hp.architectures) and hp.trials == 15
    assert hyperparameters.parse({"architectures": listed, "trials": "4"}).trials == 4
    assert hyperparameters.parse({"architectures": "net0"}).trials == Hyperparameters.trials


def test_the_first_trial_is_the_trainers_default_and_architectures_take_turns():
    hp = Hyperparameters(architectures=("a", "b"), trials=4, pretrained="both", subset=50)
    own = trainers.Hyperparameters()
    default, *others = space.first_round(hp, photographs=100)
    assert (default.number, default.architecture, default.image_size) == (0, own.architecture, own.image_size)
    assert (default.pretrained, default.learning_rate) == (own.pretrained, own.learning_rate)
    assert [(t.architecture, t.pretrained) for t in others] == [
        ("a", True),
        ("b", True),
        ("a", False),
        ("b", False),
    ]
    low, high = hp.learning_rates
    assert all(low <= t.learning_rate <= high and t.photographs == 50 for t in others)
    assert space.first_round(hp, photographs=100) == [default, *others]  # a resumed search draws the same


def test_the_best_of_the_first_round_and_the_default_run_again_in_full():
    hp = Hyperparameters(architectures=("a",), trials=4, survivors=2, epochs=7)
    first = space.first_round(hp, photographs=9000)
    rows = [
        row(0, accuracy=0.2),
        row(1, accuracy=0.3),
        row(2, accuracy=None, status="failed"),
        row(3, accuracy=0.5),
        row(4, accuracy=0.9, status="cut off"),
    ]
    second = space.second_round(hp, first, rows, photographs=9000)
    assert [t.number for t in second] == [3, 0, 1]
    assert all((t.round, t.epochs, t.photographs) == ("full", 7, 9000) for t in second)
    assert second[0].learning_rate == first[3].learning_rate
    few = space.second_round(hp, first, [row for row in rows if row.trial in (0, 3, 4)], photographs=9000)
    assert [t.number for t in few] == [3, 0, 4]


@pytest.mark.parametrize(("seconds", "epochs"), [(1000, 5), (465, 4), (464, 3), (10, 1)])
def test_the_second_rounds_epochs_are_what_the_rest_of_the_budget_allows(seconds, epochs):
    """Each of two trials: 10 s beside training, and 50 s for an epoch of 1,000 photographs at 20 a second.

    Four epochs are 420 s, of which training, 400 s, is planned to take nine tenths of the rest.
    """
    hp = Hyperparameters(architectures=("a",), trials=1)
    first = space.first_round(hp, photographs=1000)
    rows = [row(n, seconds=20.0, epochs=2, photographs=100, speed=20.0) for n in (0, 1)]
    second = space.second_round(hp, first, rows, photographs=1000)
    assert space.epochs_that_fit(second, rows, seconds, most=5) == epochs


def test_a_leaderboard_is_read_as_it_was_written(tmp_path):
    rows = [
        row(0, accuracy=0.25),
        row(1, accuracy=None, status="failed", reason='a "quoted", reason'),
    ]
    leaderboard.write(tmp_path / leaderboard.FILE, rows)
    assert leaderboard.read(tmp_path / leaderboard.FILE) == rows
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match="no leaderboard"):
        leaderboard.read(tmp_path / "other.csv")


def test_the_subset_is_fixed_and_keeps_the_counts_proportions():
    everything = [(f"{count}-{n}", count) for count, size in ((1, 100), (2, 300)) for n in range(size)]
    some = photographs.subset(everything, 40, seed=3)
    assert photographs.subset(everything, 40, seed=3) == some and len(set(some)) == 40
    assert abs(sum(count == 1 for _, count in some) - 10) <= 1
    assert photographs.subset(everything, 40, seed=4) != some
    assert photographs.subset(everything, 1000, seed=3) == everything


def made(rows) -> dict:
    return recipe.document(rows, Hyperparameters(), "f" * 64, 1000, "float32")


def test_the_trainer_takes_a_recipe_as_it_is():
    rows = [row(0, accuracy=0.30, round="full"), row(1, accuracy=0.35, round="full")]
    document = json.loads(json.dumps(made(rows)))
    given = [
        text
        for name, value in document["hyperparameters"].items()
        for text in (f"--{name}", value if isinstance(value, str) else json.dumps(value))
    ]
    hp = trainers.parse(given)
    assert (hp.architecture, hp.pretrained, hp.batch_size) == ("net1", False, 32)
    assert hp.epochs == trainers.Hyperparameters.epochs and hp.precision == "float32"
    provenance = document["provenance"]
    assert provenance["trial"] == 1 and provenance["of_trials"] == 2
    assert provenance["validation_accuracy"] == 0.35
    assert provenance["trainers_default_validation_accuracy"] == 0.30
    assert "beats the trainer's default on validation by 5.0 points" in provenance["verdict"]


def test_it_is_said_plainly_that_nothing_beats_the_default():
    rows = [row(0, accuracy=0.30, round="full"), row(1, accuracy=0.29, round="full"), row(2, accuracy=0.9)]
    document = made(rows)
    assert document["provenance"]["verdict"].startswith("no trial beats the trainer's default")
    assert "precision" not in document["hyperparameters"]


def test_a_default_that_was_compared_with_nothing_has_not_won():
    rows = [row(0, accuracy=0.30, round="full"), row(1, accuracy=None, status="cut off", round="full")]
    said = made(rows)["provenance"]["verdict"]
    assert said.startswith("nothing was completed beside the trainer's default") and "scored" not in said


def test_a_trial_that_was_cut_off_is_not_compared_and_named_where_it_scored_higher():
    default, failed = row(0, 0.30, round="full"), row(2, None, status="failed", round="full")
    cut_off = row(1, 0.35, status="cut off", round="full")
    above = "; trial 1 (net1) scored higher, 0.3500, but was cut off, and only completed trials are compared"
    said = recipe.verdict([default, failed, cut_off], photographs=1000)
    assert said.startswith(
        "nothing was completed beside the trainer's default, so nothing is proved: trial 0"
    )
    assert said.endswith(above)
    worse, better = row(3, 0.25, round="full"), row(4, 0.32, round="full")
    said = recipe.verdict([default, worse, cut_off], photographs=1000)
    assert said.startswith("no trial beats the trainer's default") and said.endswith(above)
    said = recipe.verdict([default, better, cut_off], photographs=1000)
    assert said.startswith("the winner beats the trainer's default on validation by 2.0 points")
    assert said.endswith(above)
    lower = [default, better, row(1, 0.31, status="cut off", round="full"), row(5, 0.9, status="cut off")]
    assert "cut off" not in recipe.verdict(lower, photographs=1000)


def test_a_winner_that_was_cut_off_is_called_so():
    said = recipe.verdict([row(0, 0.3), row(1, 0.4, status="cut off", round="full")], photographs=1000)
    assert "0.4000 cut off before the end of 2 epoch(s)" in said and said.endswith("so nothing is proved")


def test_a_tie_is_called_so():
    default, other = row(0, 0.3, round="full"), row(1, 0.3, round="full")
    said = recipe.verdict([default, replace(other, validation_log_loss=1.2)], photographs=1000)
    assert said.startswith(
        "the winner is only as accurate as the trainer's default on validation, "
        "log loss 1.2 for the winner against 1.5: trial 1 (net1"
    )
    said = recipe.verdict([default, replace(other, validation_log_loss=1.7)], photographs=1000)
    assert said.startswith("no trial beats the trainer's default on validation: the winner is trial 0")
    assert said.endswith("; as accurate is trial 1 (net1), log loss 1.5 for the winner against 1.7")


def test_without_the_default_beside_it_nothing_is_claimed():
    rows = [row(0, accuracy=0.2), row(1, accuracy=0.35, round="full")]
    assert made(rows)["provenance"]["verdict"].endswith("so nothing is proved")
    assert made(rows)["provenance"]["trainers_default_validation_accuracy"] is None
