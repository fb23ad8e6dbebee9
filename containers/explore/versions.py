"""What the exploration image can do: imports AutoGluon and prints, as JSON, the versions it found."""

import json

from containers.train import torchvision_cpu  # noqa: F401, before anything that imports torchvision


def main() -> None:
    import torch
    import torchvision
    from autogluon import multimodal

    print(
        json.dumps(
            {
                "autogluon.multimodal": multimodal.__version__,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "cuda": torch.version.cuda,
            }
        )
    )


if __name__ == "__main__":
    main()
