"""Where localcloud lives and what it answers as: every port, path and identity in one place."""

import os
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
ACCOUNT = "123456789012"  # moto's own
REGION = "us-east-1"
HEALTH = "/_localcloud/health"


@dataclass(frozen=True)
class Settings:
    """Read once, at the edge; ``LOCALCLOUD_*`` variables override the defaults."""

    home: Path
    host: str
    port: int
    images: Path
    runtime: str = "process"  # or docker
    registry: str = "localhost:5000"  # what stands behind ECR

    @classmethod
    def from_environment(cls) -> "Settings":
        get = os.environ.get
        return cls(
            home=Path(get("LOCALCLOUD_HOME", PROJECT / ".local" / "cloud")).resolve(),
            host=get("LOCALCLOUD_HOST", "127.0.0.1"),
            port=int(get("LOCALCLOUD_PORT", "4599")),
            images=Path(get("LOCALCLOUD_IMAGES", PROJECT / "docker" / "images.toml")),
            runtime=get("LOCALCLOUD_RUNTIME") or cls.runtime,
            registry=get("LOCALCLOUD_REGISTRY") or cls.registry,
        )

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid_file(self) -> Path:
        return self.home / "localcloud.pid"

    @property
    def log_file(self) -> Path:
        return self.home / "localcloud.log"

    @property
    def client_environment(self) -> dict[str, str]:
        """What points the AWS CLI and boto3 on this machine at this address."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "localcloud",
            "AWS_SECRET_ACCESS_KEY": "localcloud",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
        }
