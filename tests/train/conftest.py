import pytest

from tests import squares

RECIPE = ["--epochs", "6", "--torchscript", "true", "--learning_rate", "0.003", "--profile_steps", "3"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A finished job's base directory and its log, every export asked for."""
    base = squares.base(tmp_path_factory.mktemp("trained"), train=400, validation=103)
    log = squares.train(base, *RECIPE).stdout
    return base, log
