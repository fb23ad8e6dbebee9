"""The Elastic Inference seam against a stand-in for ``torcheia``: the service itself is closed."""

import sys
import types

import numpy as np
import pytest
import torch

from containers.common import card as cards
from containers.common.errors import ModelError
from containers.common.graph import Graph
from containers.serve.accelerator import AcceleratedGraph


class Attached:
    """What the stand-in has attached: it must be run as AWS documented, without autograd and optimized."""

    def __init__(self, module: torch.jit.ScriptModule, device: int):
        assert isinstance(module, torch.jit.ScriptModule) and not module.training
        self.module, self.device, self.runs = module, device, 0

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        assert not torch.is_grad_enabled() and torch._C._get_graph_executor_optimize()
        self.runs += 1
        return self.module(batch)


@pytest.fixture
def torcheia(monkeypatch) -> list[Attached]:
    attached = []

    def attach_eia(module, device):
        attached.append(Attached(module, device))
        return attached[-1]

    stand_in = types.SimpleNamespace(jit=types.SimpleNamespace(attach_eia=attach_eia))
    monkeypatch.setitem(sys.modules, "torcheia", stand_in)
    yield attached
    torch._C._jit_set_profiling_executor(True)


def test_the_attached_graph_answers_as_the_exported_one(trained, torcheia):
    base, _ = trained
    photographs = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    graph = AcceleratedGraph(base / "model")
    answered = graph(photographs)
    [attached] = torcheia
    assert (attached.device, attached.runs) == (0, 1)
    assert answered == pytest.approx(Graph(base / "model", cards.FLOAT_GRAPH)(photographs), abs=1e-3)


def test_without_torcheia_it_is_one_clear_error(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "torcheia", None)  # as if it were not installed
    with pytest.raises(ModelError, match="accelerator eia needs torcheia, which this image does not have"):
        AcceleratedGraph(trained[0] / "model")


def test_without_torchscript_it_says_how_to_get_it(trained, torcheia, tmp_path):
    (tmp_path / cards.FILE).write_text((trained[0] / "model" / cards.FILE).read_text())
    with pytest.raises(ModelError, match="train with torchscript=true"):
        AcceleratedGraph(tmp_path)
