"""localcloud as a client of itself: by the same door, and with the same answers, as everybody else."""

import threading
from functools import cache

import boto3
from botocore.config import Config

from localcloud.settings import Settings

_session = cache(boto3.Session)
_making = threading.Lock()  # a session's clients may be shared by threads, but not made by two at a time


def client(settings: Settings, service: str, **config):
    """A boto3 client of this localcloud; ``config``: botocore's. Takes part of a second to make."""
    environment = settings.client_environment
    with _making:
        return _session().client(
            service,
            endpoint_url=environment["AWS_ENDPOINT_URL"],
            region_name=environment["AWS_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            config=Config(**config),
        )
