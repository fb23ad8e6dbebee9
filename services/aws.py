"""The services' only door to AWS: one session, its clients, and what is derived from the account."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from containers.common.errors import ServiceError
from services.settings import Settings

CONNECTIONS = 32  # threads that one client serves at a time
AWS_DOMAINS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")


class Aws:
    """AWS as ``settings`` and the standard AWS environment describe it; threads may share its clients."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.region = settings.region
        self._session = boto3.Session(region_name=settings.region)
        self.client = cache(self._client)

    def _client(self, service: str):
        """A boto3 client with retries, made once per service: ``aws.client("sagemaker")``."""
        retries = {"mode": "standard", "max_attempts": 6}
        config = Config(retries=retries, max_pool_connections=CONNECTIONS, connect_timeout=10)
        return self._session.client(service, config=config)

    @cached_property
    def endpoint_url(self) -> str | None:
        """Where calls go instead of AWS (localcloud's address); None when they go to AWS itself.

        Asked of boto3 rather than of ``AWS_ENDPOINT_URL``: a profile may name an endpoint too, and
        ``AWS_IGNORE_CONFIGURED_ENDPOINT_URLS`` overrules both.
        """
        url = self.client("sts").meta.endpoint_url
        return None if (urlsplit(url).hostname or "").endswith(AWS_DOMAINS) else url

    @cached_property
    def account(self) -> str:
        """The twelve digits of the caller's account, from STS."""
        return self.client("sts").get_caller_identity()["Account"]

    @cached_property
    def stack(self) -> dict[str, str]:
        """Outputs of the stack that bootstrap made, by their names; none where there is no stack."""
        outputs = (self.describe_stack() or {}).get("Outputs", ())
        return {output["OutputKey"]: output["OutputValue"] for output in outputs}

    def describe_stack(self) -> dict | None:
        """The stack as DescribeStacks has it now, or None."""
        try:
            stacks = self.client("cloudformation").describe_stacks(StackName=self.settings.stack)["Stacks"]
        except ClientError as error:
            if "does not exist" in error.response["Error"]["Message"]:
                return None
            raise
        return stacks[0]

    def in_stack(self, kind: str, name: str) -> bool:
        """Whether the stack made a resource: ``("AWS::Lambda::Function", "bintally-count")``."""
        return (kind, name) in self._stack_resources

    @cached_property
    def _stack_resources(self) -> set[tuple[str, str]]:
        if not self.stack:
            return set()
        cloudformation = self.client("cloudformation")
        resources = cloudformation.describe_stack_resources(StackName=self.settings.stack)["StackResources"]
        return {(r["ResourceType"], r.get("PhysicalResourceId", "")) for r in resources}

    def role_for(self, work: str) -> str:
        """ARN of the role that a kind of work runs as.

        work: training, processing, monitor, endpoint, pipeline, count or promote, as infra/ has them.
        """
        return self.settings.role or self.stack.get(f"{work.title()}Role") or self.role

    @property
    def role(self) -> str:
        """ARN of the one role of an account that was not bootstrapped."""
        return self.settings.role or f"arn:aws:iam::{self.account}:role/bintally-execution"

    def image(self, name: str) -> str:
        """URI of an image by its name's end (``train``): set, or by digest as it was pushed last.

        Raises ServiceError where there is none; localcloud takes a name for what it runs as processes.
        """
        if found := self.pushed(name):
            return found
        if self.endpoint_url:
            return f"{self.account}.dkr.ecr.{self.region}.amazonaws.com/bintally-{name}:latest"
        raise ServiceError(
            f"ECR of account {self.account} in {self.region} has no image bintally-{name}: "
            f"'make push CLOUD=aws' brings it there, BINTALLY_{name.upper()}_IMAGE names another"
        )

    def pushed(self, name: str) -> str | None:
        """The same, but None for an image that is neither set nor pushed, from here or from elsewhere."""
        repository = f"bintally-{name}"
        found = getattr(self.settings, f"{name}_image") or self._pushed_images.get(repository)
        if found or self.endpoint_url:  # to localcloud nobody pushes but from here
            return found
        return self.newest_image(repository)

    def newest_image(self, repository: str) -> str | None:
        """URI by digest of what was pushed last to a repository, by whomever; None where there is nothing."""
        ecr = self.client("ecr")
        pages = ecr.get_paginator("describe_images").paginate(
            repositoryName=repository, filter={"tagStatus": "TAGGED"}
        )
        try:
            images = [image for page in pages for image in page["imageDetails"]]
        except ecr.exceptions.RepositoryNotFoundException:
            return None
        if not images:
            return None
        [found] = ecr.describe_repositories(repositoryNames=[repository])["repositories"]
        newest = max(images, key=lambda image: image["imagePushedAt"])
        return f"{found['repositoryUri']}@{newest['imageDigest']}"

    @cached_property
    def _pushed_images(self) -> dict[str, str]:
        """What ecr-push.sh has pushed from here to this account and region: URIs by name."""
        try:
            documents = json.loads(self.settings.images.read_text())
        except FileNotFoundError:
            return {}
        return documents.get(f"{self.account}/{self.region}", {})

    def download(self, uri: str, path: Path) -> None:
        """The object at ``s3://bucket/key`` into a file."""
        place = urlsplit(uri)
        self.client("s3").download_file(place.netloc, place.path.lstrip("/"), str(path))

    def download_files(self, base: str, files: Iterable[str], folder: Path) -> None:
        """Those files below the S3 address ``base``, into a folder that is made where it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        for file in files:
            self.download(f"{base}/{file}", folder / file)

    @property
    def bucket(self) -> str:
        """The name of the bucket for everything of ours, which may not exist yet."""
        return self.settings.bucket or self.stack.get("Bucket") or self.sagemaker_bucket

    @property
    def sagemaker_bucket(self) -> str:
        """The name of SageMaker's own default bucket, which the account may use for other things, too."""
        return f"sagemaker-{self.region}-{self.account}"

    def default_bucket(self) -> str:
        """The bucket's name, after creating it where it does not exist.

        Raises ServiceError when the name belongs to another account.
        """
        bucket = self.bucket
        s3 = self.client("s3")
        # The default name can be guessed, and so be taken before its owner comes.
        owner = {} if self.settings.bucket else {"ExpectedBucketOwner": self.account}
        try:
            s3.head_bucket(Bucket=bucket, **owner)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status == 403:
                raise ServiceError(
                    f"s3://{bucket} is not yours, or closed to you; set another with BINTALLY_BUCKET"
                ) from error
            if status != 404:
                raise
            self._create_bucket(bucket)
        return bucket

    def _create_bucket(self, bucket: str) -> None:
        # S3 refuses us-east-1 as a LocationConstraint: it is what none means.
        where = {"CreateBucketConfiguration": {"LocationConstraint": self.region}}
        s3 = self.client("s3")
        try:
            s3.create_bucket(Bucket=bucket, **({} if self.region == "us-east-1" else where))
        except s3.exceptions.BucketAlreadyOwnedByYou:
            pass  # another service was first
        except s3.exceptions.BucketAlreadyExists as error:
            raise ServiceError(
                f"s3://{bucket} belongs to somebody else; set another with BINTALLY_BUCKET"
            ) from error
        s3.get_waiter("bucket_exists").wait(Bucket=bucket)


def in_threads(work: Callable[[str], object], items: Iterable[str], advance: Callable[..., None]) -> None:
    """``work`` on every item, CONNECTIONS at a time; the first failure ends it and is raised."""
    pool = ThreadPoolExecutor(CONNECTIONS)
    try:
        for _ in pool.map(work, items):
            advance()
    finally:
        pool.shutdown(cancel_futures=True)
