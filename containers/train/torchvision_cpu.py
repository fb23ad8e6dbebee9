"""Lets torchvision's import succeed beside a CPU-only torch.

The wheel's compiled extension is linked against CUDA torch and does not load there; torchvision then
registers metadata for two operators that nobody has defined and fails. Defining their schemas is
enough: models and transforms work, ``ops.nms`` and ``io.decode_jpeg`` do not, and we use neither.
Import this module before timm or torchvision. It does nothing where the extension loads.
"""

import torch

_library = None

if not torch.cuda.is_available() and torch.version.cuda is None:
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for _name in ("nms", "qnms"):
        _library.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
