"""The Elastic Inference seam against a stand-in for ``torcheia``: the service itself is closed."""

import builtins
import sys
import types

import numpy as np
import pytest

from containers.common.errors import ModelError
from containers.common.graph import Graph
from containers.serve.accelerator import AcceleratedGraph


@pytest.fixture
def torcheia(monkeypatch):
    """What AWS documented: ``attach_eia`` takes a TorchScript module and the accelerator's number."""
    attached = []
    jit = types.SimpleNamespace(attach_eia=lambda model, device: attached.append(device) or model)
    monkeypatch.setitem(sys.modules, "torcheia", types.SimpleNamespace(jit=jit))
    import torch

    class Execution:
        """torch's own takes no options; AWS's build did."""

        def __init__(self, optimize, options):
            attached.append((optimize, options))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(torch.jit, "optimized_execution", Execution)
    return attached


def test_the_attached_graph_answers_as_the_served_one(trained, torcheia):
    base, _ = trained
    photographs = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    accelerated = AcceleratedGraph(base / "model")(photographs)
    assert torcheia == [0, (True, {"target_device": "eia:0"})]
    assert accelerated == pytest.approx(Graph(base / "model", "model.onnx")(photographs), abs=1e-3)


def test_without_torcheia_it_is_one_clear_error(trained, monkeypatch):
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name == "torcheia":
            raise ImportError("no such module", name=name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError, match="needs torcheia"):
        AcceleratedGraph(trained[0] / "model")


def test_without_torchscript_it_says_how_to_get_it(trained, tmp_path):
    (tmp_path / "card.json").write_text((trained[0] / "model" / "card.json").read_text())
    with pytest.raises(ModelError, match="torchscript=true"):
        AcceleratedGraph(tmp_path)
