"""The exploration image under SageMaker's contract, with as few rights as it can be given."""

import csv
import json

from tests import squares
from tests.engine import docker
from tests.images.conftest import configure, open_to_all
from tests.images.containers import HARDENED, built

SEARCH = {
    "budget": "1h",
    "architectures": "tf_efficientnet_lite0",
    "image_sizes": "32",
    "batch_sizes": "20",
    "trials": "1",
    "subset": "60",
    "subset_epochs": "1",
    "epochs": "1",
}


def test_a_search_leaves_its_results_and_no_file_of_another_user(tmp_path):
    base = squares.base(tmp_path, train=100)
    configure(base)
    (base / "input" / "config" / "hyperparameters.json").write_text(json.dumps(SEARCH))
    open_to_all(base)
    run = docker(
        *("run", "--rm", *HARDENED, "--network", "none", "-v", f"{base}:/opt/ml"),
        built("bintally-explore"),
        "train",
    )
    with (base / "model" / "leaderboard.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["trial"], row["round"], row["status"]) for row in rows] == [
        ("0", "subset", "completed"),
        ("1", "subset", "completed"),
        ("1", "full", "completed"),
        ("0", "full", "completed"),
    ], run.stdout + run.stderr
    assert rows[1]["pretrained"] == "True"  # its weights are in the image: there is no network here
    recipe = json.loads((base / "model" / "recipe.json").read_text())
    assert recipe["provenance"]["versions"]["torch"].startswith("2.13.0")
    assert not (base / "output" / "failure").exists()
    assert all(path.stat().st_uid == 12345 for path in (base / "model").iterdir())
