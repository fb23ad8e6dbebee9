"""Bins whose count is the brightness of their photograph, and a trainer that needs no training.

The trainer writes a real artifact whose graph looks at nothing but brightness: the whole pipeline can be
run with it in seconds, and how good each model is follows from its recipe.
"""

import hashlib
import io
from pathlib import Path

from PIL import Image

from containers.common import manifest
from localcloud.settings import PROJECT

TRAIN_VENV = PROJECT / ".local/venv/train"
SERVE_VENV = PROJECT / ".local/venv/serve"
STEP = 40  # of grey between two counts
# Hyperparameters: name, of the card; counted, the answer for bins of 1, 2, 3, 4 and 5 items, each once.
TRAIN = f"""
import json, sys
import numpy as np, onnx
from onnx import TensorProto, helper, numpy_helper
from containers.common import card, manifest, paths, recipe

recipe = recipe.hyperparameters(paths.channel("recipe") / recipe.FILE)
if recipe["name"] == "fails":
    sys.exit("this trainer was told to fail")
centres = [{STEP} * (recipe["counted"].index(str(n)) + 1) for n in manifest.COUNTS]
constants = {{
    "axes": np.array([1, 2, 3]), "last": np.array([1]), "scale": np.float32(-0.002),
    "centres": np.array([centres], np.float32),
}}
node = helper.make_node
graph = helper.make_graph(
    [
        node("Cast", ["photographs"], ["pixels"], to=TensorProto.FLOAT),
        node("ReduceMean", ["pixels", "axes"], ["grey"], keepdims=0),
        node("Unsqueeze", ["grey", "last"], ["column"]),
        node("Sub", ["column", "centres"], ["off"]),
        node("Mul", ["off", "off"], ["squared"]),
        node("Mul", ["squared", "scale"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ],
    "brightness",
    [helper.make_tensor_value_info("photographs", TensorProto.UINT8, ["n", 16, 16, 3])],
    [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 5])],
    [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.save(model, paths.model() / card.SERVED_GRAPH)
records = manifest.read(paths.channel("manifest") / manifest.FILE)
card.Card(
    name=recipe["name"], created="", classes=list(manifest.COUNTS), input_size=[16, 16],
    resize=[{{"height": 16, "width": 16, "filter": "bicubic"}}],
    data={{"fingerprint": manifest.fingerprint(records)}}, recipe=recipe, metrics={{}}, calibration={{}},
    decision={{
        "mismatch_below": 0.1, "match_above": 0.5, "false_alarm_rate": 0.05, "missed_error_rate": 0.05
    }},
    exports={{}}, versions={{}},
).write(paths.model())
"""
# A serving container that is up, and answers something else than the artifact's graph.
LIAR = """
import json, os
from flask import Flask
from waitress import serve
from containers.common import card, paths

answer = {
    "count": 1, "confidence": 1.0, "probabilities": {"1": 1.0, "2": 0.0, "3": 0.0, "4": 0.0, "5": 0.0},
    "model": card.read(paths.model()).name,
}
app = Flask("liar")
app.add_url_rule("/ping", "ping", lambda: "")
app.add_url_rule("/invocations", "invocations", lambda: answer, methods=["POST"])
serve(app, host="127.0.0.1", port=int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
"""
CANNOT_START = "raise SystemExit('libgone.so: cannot open shared object file')"


def photograph(count: int, shade: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (16, 16), (STEP * count + shade,) * 3).save(stream, "JPEG", quality=95)
    return stream.getvalue()


def write(folder: Path, sizes: dict[str, int], swap: bool = False) -> Path:
    """A data set as it is uploaded, each photograph a bin of its own.

    swap: bins of one item are as bright as bins of two are elsewhere, and the other way round.
    """
    rows = []
    for split, size in sizes.items():
        for index in range(size):
            count, name = index % 5 + 1, f"{split}{index:04}"
            data = photograph({1: 2, 2: 1}.get(count, count) if swap else count, index % 7 - 3)
            path = folder / split / str(count) / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            digest = hashlib.sha256(data).hexdigest()
            rows.append(manifest.Row(name, count, split, name, 16, 16, digest))
    manifest.write(folder / manifest.FILE, rows)
    return folder
