import pytest

from containers.common.graph import Graph
from containers.serve.handler import Handler
from containers.serve.requests import ObjectReader
from tests import squares


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A small trained artifact, made by the training environment."""
    base = squares.base(tmp_path_factory.mktemp("model"), train=200)
    squares.train(base, "--epochs", "4", "--learning_rate", "0.003")
    return base / "model"


@pytest.fixture(scope="session")
def handler(model_folder):
    return Handler(Graph(model_folder), ObjectReader(frozenset({"bins"})))
