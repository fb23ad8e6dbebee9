"""The training image under SageMaker's contract; ``conftest.job`` has run it as an arbitrary user."""

import json
import shutil
import tarfile

from tests import squares
from tests.engine import docker
from tests.images.conftest import configure, open_to_all
from tests.images.containers import HARDENED, Container, built


def test_a_job_leaves_the_artifact_and_no_file_of_another_user(job):
    assert {"card.json", "model.int8.onnx", "model.safetensors"} <= {
        path.name for path in (job / "model").iterdir()
    }
    assert json.loads((job / "model" / "card.json").read_text())["versions"]["torch"].startswith("2.13.0")
    assert not (job / "output" / "failure").exists()
    assert all(path.stat().st_uid == 12345 for path in (job / "model").iterdir())


def test_a_stopped_job_writes_why_and_leaves_no_process(tmp_path):
    base = squares.base(tmp_path, train=200)
    configure(base)
    hyperparameters = base / "input" / "config" / "hyperparameters.json"
    hyperparameters.write_text(json.dumps({**json.loads(hyperparameters.read_text()), "epochs": "500"}))
    container = Container(*HARDENED, "-v", f"{base}:/opt/ml", built("bintally-train"), "train")
    try:
        container.until_logged("epoch=1/500", 120)
        docker("stop", "--time", "60", container.id)
        assert container.inspect(".State.ExitCode") not in ("0", "137"), container.logs()
        assert (base / "output" / "failure").read_text()
    finally:
        container.remove()


def test_a_processing_job_scores_the_model(job, tmp_path):
    inputs = tmp_path / "processing"
    shutil.copytree(job / "input/data/validation", inputs / "test")
    shutil.copytree(job / "input/data/train", inputs / "validation")  # other bins, to fit thresholds on
    shutil.copytree(job / "input/data/manifest", inputs / "manifest")
    (inputs / "model").mkdir()
    with tarfile.open(inputs / "model/model.tar.gz", "w:gz") as archive:
        for path in (job / "model").iterdir():
            archive.add(path, path.name)
    open_to_all(tmp_path)
    docker(
        *("run", "--rm", *HARDENED, "--network", "none", "-v", f"{tmp_path}:/opt/ml"),
        *("--entrypoint", "python", built("bintally-train"), "-m", "containers.train.evaluate"),
    )
    evaluation = json.loads((inputs / "evaluation/evaluation.json").read_text())
    assert evaluation["data"]["photographs"] == 43 and evaluation["trained_on_this_data"]
    for file in ("evaluation.html", "predictions.csv"):
        assert (inputs / "evaluation" / file).stat().st_uid == 12345
