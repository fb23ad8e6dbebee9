"""What this machine has: a processor to train on, and a model hub that answers or not."""

import os
import urllib.error
import urllib.request

import torch
from huggingface_hub.constants import ENDPOINT

PROBE_SECONDS = 5


def device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"{os.cpu_count()} cores"


def precision() -> str:
    """What AutoGluon trains in, in the trainer's words: it knows float32 only on a CPU."""
    return "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "float32"


def hub_environment() -> dict[str, str]:
    """Variables for the processes of trials: the hub's client must not retry where nothing answers.

    What its cache holds is still found. One question decides; any answer, an error too, is one.
    """
    if os.environ.get("HF_HUB_OFFLINE"):
        return {"HF_HUB_OFFLINE": os.environ["HF_HUB_OFFLINE"]}
    try:
        urllib.request.urlopen(urllib.request.Request(ENDPOINT, method="HEAD"), timeout=PROBE_SECONDS)
    except urllib.error.HTTPError:
        pass
    except OSError:
        return {"HF_HUB_OFFLINE": "1"}
    return {}
