"""The model that ships: what the folder holds, and that it counts at once where nobody has trained one."""

import json

import pytest

from containers.common import card as cards
from containers.common import synthetic
from containers.common.errors import ModelError
from services import release
from services.artifacts import SHIPPED
from tests.operator.conftest import service


def test_the_folder_is_fit_to_ship_and_says_how_good_it_is():
    release.check(SHIPPED)
    card = cards.read(SHIPPED)
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) < release.FOLDER_BYTES
    assert card.classes == [1, 2, 3, 4, 5] and card.recipe["report_pictures"] is False
    for score in ("accuracy", "rmse", "within_one", "ece"):
        stated = card.metrics["test"][score]
        assert stated["low"] <= stated["value"] <= stated["high"]
    evaluation = json.loads((SHIPPED / "evaluation.json").read_text())
    assert evaluation["model"] == card.name and evaluation["metrics"] == card.metrics["test"]
    assert "CC BY-NC-SA 3.0" in (SHIPPED / "LICENSE.md").read_text()


def test_it_is_as_good_as_was_asked_for_on_the_photographs_that_it_was_chosen_by():
    """Test photographs are too few to tell: there the card states intervals, and README both."""
    card = cards.read(SHIPPED)
    of_float, of_served = (card.exports[file]["accuracy"] for file in (cards.FLOAT_GRAPH, cards.SERVED_GRAPH))
    assert abs(of_float - of_served) <= 0.005
    assert card.metrics["validation"]["accuracy"]["value"] >= 0.44
    assert card.metrics["validation"]["rmse"]["value"] <= 0.90
    assert card.metrics["test"]["ece"]["low"] <= 0.05


def test_what_is_not_fit_to_ship_is_refused(tmp_path):
    for name in release.FILES:
        (tmp_path / name).write_text("x")
    release.check(tmp_path)
    (tmp_path / cards.REPORT).write_text(f'<img src="{release.PICTURE};base64,…">')
    with pytest.raises(ModelError, match="report_pictures=false"):
        release.check(tmp_path)
    (tmp_path / cards.WEIGHTS).write_bytes(bytes(release.FOLDER_BYTES))
    with pytest.raises(ModelError, match=r"the artifact has .* what ships may have 20,000,000"):
        release.check(tmp_path)
    (tmp_path / cards.SERVED_GRAPH).write_bytes(bytes(release.GRAPH_BYTES + 1))
    with pytest.raises(ModelError, match="6,000,001 bytes"):
        release.check(tmp_path)
    (tmp_path / cards.WEIGHTS).unlink()
    with pytest.raises(ModelError, match=cards.WEIGHTS):
        release.check(tmp_path)


@pytest.mark.training
def test_it_is_deployed_and_asked_where_nobody_has_trained(own_cloud, tmp_path):
    assert own_cloud("up").returncode == 0
    own_cloud.environment["BINTALLY_LOCAL"] = str(tmp_path / "local")
    synthetic.render_dataset(tmp_path / "bins", 5, seed=1, workers=1)
    photograph = next((tmp_path / "bins" / "bin-images").glob("*.jpg"))

    def said(name: str, *arguments: str) -> str:
        done = service(own_cloud, name, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    name = cards.read(SHIPPED).name
    deployed = said("deploy")
    assert "the model that ships with BinTally is taken" in deployed and f"shipped/{name}/" in deployed
    assert photograph.name in said("predict", str(photograph), "--expected", "3")
    said("deploy", "--delete")
