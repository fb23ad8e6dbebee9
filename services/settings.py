"""Every name, address and size that the services use, in one place.

A flag overrides an environment variable, which overrides the default written here. The variable of
a field is its name in capitals behind ``BINTALLY_`` (``BINTALLY_ENDPOINT``); where the public photographs
lie is named ``ABID_…``, as it is not ours.
"""

import argparse
import os
from dataclasses import dataclass, fields
from pathlib import Path

import boto3

from containers.common.errors import SettingsError

PREFIX = "BINTALLY_"
FALLBACK_REGION = "us-east-1"
SWITCH = ("on", "off")


@dataclass(frozen=True)
class Settings:
    """Read once, at the edge, by ``Settings.load``. Empty strings mean "derived from the account"."""

    region: str = ""  # AWS_REGION, AWS_DEFAULT_REGION or the profile's, else FALLBACK_REGION
    bucket: str = ""  # the stack's, or sagemaker-<region>-<account>
    prefix: str = "bintally"  # of every key in the bucket
    stack: str = "bintally"  # what bootstrap makes: the bucket, and a role for each kind of work
    role: str = ""  # one role for all work, instead of the stack's
    train_image: str = ""  # as pushed last from here, or else as ECR has it newest
    serve_image: str = ""
    function_image: str = ""
    explore_image: str = ""
    endpoint: str = "bintally"
    function: str = "bintally-count"
    pipeline: str = "bintally"
    promote_function: str = "bintally-promote"
    model_group: str = "bintally"  # of the Model Registry
    train_instance: str = "ml.m5.xlarge"
    explore_instance: str = "ml.m5.xlarge"
    evaluate_instance: str = "ml.m5.xlarge"
    monitor_instance: str = "ml.m5.xlarge"
    serve_instance: str = "ml.m5.xlarge"
    profiler: str = "on"  # off: for accounts that SageMaker's own profiler is closed to
    local: Path = Path(".local")  # work files on this machine
    abid_bucket: str = "aft-vbi-pds"
    abid_region: str = "us-east-1"
    abid_endpoint_url: str = ""  # AWS itself

    @property
    def images(self) -> Path:
        """Where ecr-push.sh writes the URIs of what it has pushed."""
        return self.local / "images.json"

    @property
    def recipe(self) -> Path:
        """What the newest exploration recommends."""
        return self.local / "recipe.json"

    @classmethod
    def load(cls, flags: argparse.Namespace | None = None) -> "Settings":
        """Defaults, then the environment, then those of ``flags`` that carry a field's name and are set.

        Raises SettingsError for a ``BINTALLY_*`` variable that names no setting, or a switch that is neither.
        """
        variables = {_variable(field.name): field.name for field in fields(cls)}
        unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in variables)
        if unknown:
            known = ", ".join(sorted(name for name in variables if name.startswith(PREFIX)))
            raise SettingsError(f"unknown setting {', '.join(unknown)}; known: {known}")
        values = {
            name: os.environ[variable] for variable, name in variables.items() if os.environ.get(variable)
        }
        given = vars(flags) if flags else {}
        values |= {f.name: given[f.name] for f in fields(cls) if given.get(f.name) is not None}
        if values.get("profiler", "on") not in SWITCH:
            raise SettingsError(f"BINTALLY_PROFILER is {values['profiler']}: use on or off")
        values["region"] = values.get("region") or _region()
        values["local"] = Path(values.get("local", cls.local))
        return cls(**values)


def _variable(field: str) -> str:
    return field.upper() if field.startswith("abid_") else PREFIX + field.upper()


def _region() -> str:
    # boto3 itself reads only AWS_DEFAULT_REGION and the profile; containers and Lambda set AWS_REGION.
    return os.environ.get("AWS_REGION") or boto3.Session().region_name or FALLBACK_REGION
