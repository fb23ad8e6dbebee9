"""The training image under SageMaker's contract; ``conftest.job`` has run it as an arbitrary user."""

import json
import time

from tests import squares
from tests.images.conftest import HARDENED, Container, built, configure, docker


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
        deadline = time.monotonic() + 120
        while "epoch" not in container.logs():
            assert time.monotonic() < deadline and container.inspect(".State.Running") == "true", (
                container.logs()
            )
            time.sleep(0.2)
        docker("stop", "--time", "60", container.id)
        assert container.inspect(".State.ExitCode") not in ("0", "137"), container.logs()
        assert (base / "output" / "failure").read_text()
    finally:
        container.remove()


def test_a_processing_job_runs_any_command():
    entry = ("--entrypoint", "python", built("bintally-train"), "-m", "containers.train.evaluate", "--help")
    assert "usage" in docker("run", "--rm", *HARDENED, "--network", "none", *entry).stdout
