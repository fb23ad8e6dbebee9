"""The search itself on a clock and trials of the test's own."""

import json
from dataclasses import replace

import pytest

from containers.common.duration import Seconds
from containers.explore import leaderboard
from containers.explore.hyperparameters import Hyperparameters
from containers.explore.leaderboard import Row
from containers.explore.search import Data, NothingFound, Search
from containers.explore.space import Trial
from tests.explore.rows import row

HP = Hyperparameters(
    budget=Seconds(1000), architectures=("a", "b", "c"), trials=6, subset=100, epochs=3, survivors=1
)
DATA = Data(train=1000, validation=100, fingerprint="f" * 64)


class World:
    """A clock that only trials move, each by ``seconds``; trial 2 fails, trial 3 is the best."""

    def __init__(self, folder, seconds=50.0, stop_after=None):
        self.folder, self.seconds, self.stop_after = folder, seconds, stop_after
        self.now, self.tried = 7.0, []

    def run_trial(self, trial: Trial, seconds: float) -> Row:
        self.tried.append((trial.number, trial.round))
        takes = self.seconds * trial.epochs * trial.photographs / (2 * 100)
        self.now += min(takes, seconds)
        common = {"round": trial.round, "epochs": trial.epochs, "photographs": trial.photographs}
        if takes > seconds:
            return row(trial.number, None, status="cut off", speed=None, seconds=seconds, **common)
        if trial.number == 2:
            return row(2, None, status="failed", speed=None, reason="RuntimeError: no such layer", **common)
        speed = trial.epochs * trial.photographs / takes
        accuracy = 0.4 if trial.number == 3 else 0.2 + trial.number / 100
        return row(trial.number, accuracy, speed=speed, seconds=takes, **common)

    def stopped(self) -> bool:
        return len(self.tried) == self.stop_after

    def search(self, rows=(), hp=HP) -> list[Row]:
        search = Search(
            hp,
            DATA,
            list(rows),
            [self.folder],
            self.run_trial,
            self.stopped,
            "float32",
            7.0,
            lambda: self.now,
        )
        search.run()
        return search.rows

    def kept(self) -> tuple[list[Row], dict]:
        document = json.loads((self.folder / "recipe.json").read_text())
        return leaderboard.read(self.folder / leaderboard.FILE), document


def test_a_whole_search(tmp_path, capsys):
    world = World(tmp_path, seconds=20.0)
    world.search()
    # In full a trial would take 100 s an epoch: three of both fit into what 140 s of the first round leave.
    assert world.tried == [*((n, "subset") for n in range(7)), (3, "full"), (0, "full")]
    rows, recipe = world.kept()
    assert [(r.trial, r.round) for r in rows] == world.tried and rows[-1].epochs == 3
    assert rows[2].status == "failed" and rows[2].reason == "RuntimeError: no such layer"
    assert recipe["provenance"]["trial"] == 3 and recipe["provenance"]["round"] == "full"
    log = capsys.readouterr().out
    [failed] = [line for line in log.splitlines() if "status=failed" in line]
    assert failed.startswith("trial=2 round=subset") and failed.endswith("RuntimeError: no such layer")
    assert "trial=3 round=subset status=completed validation_accuracy=0.4000" in log
    assert log.splitlines()[-1].startswith("the winner beats the trainer's default on validation by 20.0")


def test_the_budget_is_kept_and_leaves_the_second_round_its_share(tmp_path):
    world = World(tmp_path, seconds=100.0)
    rows = world.search()
    # Four trials of 100 s reach the first round's 400; one epoch of 500 s is then all that still fits.
    assert world.tried == [*((n, "subset") for n in range(4)), (3, "full"), (0, "full")]
    assert rows[4].status == "completed" and rows[4].epochs == 1
    assert rows[5].status == "cut off" and world.now <= 7 + 1000
    assert world.kept()[1]["provenance"]["verdict"].endswith("so nothing is proved")


def test_candidates_that_the_budget_never_reaches_are_named(tmp_path, capsys):
    World(tmp_path, seconds=100.0).search()
    rows, recipe = World(tmp_path).kept()
    untried = [(r.trial, r.round, r.architecture) for r in rows if r.status == "not tried"]
    assert untried == [(4, "subset", "a"), (5, "subset", "b"), (6, "subset", "c")] and rows[-3].trial == 4
    assert recipe["provenance"]["of_trials"] == 4
    log = capsys.readouterr().out.splitlines()
    assert log[-2] == "not tried within 1000 s: trial 4 (a), trial 5 (b), trial 6 (c)"

    more = World(tmp_path, seconds=20.0)
    more.search(rows, hp=replace(HP, budget=Seconds(2000)))
    assert more.tried == [(4, "subset"), (5, "subset"), (6, "subset"), (0, "full")]
    assert "not tried" not in {r.status for r in more.kept()[0]}


def test_a_network_that_is_too_slow_costs_a_third_of_the_first_round(tmp_path):
    world = World(tmp_path, seconds=120.0)
    world.search(hp=replace(HP, first_share=0.3))
    # The default, to which all are compared, may take its 120 s; the others are cut off after 100.
    assert world.tried == [(0, "subset"), (1, "subset"), (2, "subset"), (0, "full")]
    assert [(r.status, r.seconds) for r in world.kept()[0][:3]] == [
        ("completed", 120),
        ("cut off", 100),
        ("cut off", 100),
    ]


def test_a_search_in_which_nothing_is_scored_says_so(tmp_path):
    world = World(tmp_path, seconds=10_000.0)
    with pytest.raises(NothingFound, match="no trial was scored within 1000 s"):
        world.search()
    statuses = [r.status for r in leaderboard.read(tmp_path / leaderboard.FILE)]
    assert statuses == ["cut off", *["not tried"] * 6]
    assert not (tmp_path / "recipe.json").exists()


def test_a_stopped_search_keeps_its_rows_and_goes_on_after_them(tmp_path):
    stopped = World(tmp_path, seconds=20.0, stop_after=3)
    stopped.search()
    rows, recipe = stopped.kept()
    assert stopped.tried == [(n, "subset") for n in range(3)] and recipe["provenance"]["trial"] == 1
    assert [(r.trial, r.status) for r in rows[3:]] == [(n, "not tried") for n in range(3, 7)]
    again = World(tmp_path, seconds=20.0)
    again.search(rows)
    assert again.tried == [*((n, "subset") for n in range(3, 7)), (3, "full"), (0, "full")]
    assert [r.trial for r in again.kept()[0]] == [0, 1, 2, 3, 4, 5, 6, 3, 0]


def test_a_search_that_is_stopped_before_it_found_anything_says_so(tmp_path):
    world = World(tmp_path, seconds=10_000.0, stop_after=1)
    with pytest.raises(NothingFound, match="before the job was stopped"):
        world.search()


def test_a_trial_that_was_cut_off_is_tried_again_and_its_row_replaced(tmp_path):
    rows = [row(0, 0.2), row(1, None, status="cut off")]
    world = World(tmp_path, seconds=20.0, stop_after=1)
    assert [(r.trial, r.status) for r in world.search(rows)][:2] == [(0, "completed"), (1, "completed")]


def test_a_score_outlives_a_retry_without_one(tmp_path):
    rows = [row(0, 0.2), row(1, 0.3, status="cut off")]
    world = World(tmp_path, seconds=10_000.0, stop_after=1)
    world.search(rows)
    assert world.tried == [(1, "subset")] and world.kept()[0][:2] == rows


def test_a_search_with_nothing_left_to_do_writes_its_results_again(tmp_path):
    world = World(tmp_path, seconds=20.0)
    rows = world.search()
    idle = World(tmp_path / "again", seconds=20.0)
    assert idle.search(rows) == rows and idle.tried == []
    assert idle.kept()[1]["hyperparameters"] == world.kept()[1]["hyperparameters"]
