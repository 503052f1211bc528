"""What the fleet's tests share: object storage on loopback, and processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, NamedTuple

import pytest

from snapkit.fleet import running

KEY_ID, SECRET = "AKIACANARYCANARY", "hunter2/canary+secret"


class Storage(NamedTuple):
    """An S3 by moto's server, with a bucket `backups`.

    Attributes:
        address: `http://127.0.0.1:PORT`.
        client: boto3's.
    """

    address: str
    client: Any

    @property
    def options(self) -> dict[str, str]:
        """For fsspec."""
        return {"endpoint_url": self.address, "key": KEY_ID, "secret": SECRET}

    @property
    def variables(self) -> dict[str, str]:
        """For the environment."""
        return {
            "FSSPEC_S3_ENDPOINT_URL": self.address,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def put(self, name: str, data: bytes) -> None:
        """Put an object into the bucket."""
        self.client.put_object(Bucket="backups", Key=name, Body=data)

    def names(self) -> list[str]:
        """The objects in the bucket, in order."""
        return [about["Key"] for about in self.client.list_objects_v2(Bucket="backups").get("Contents", ())]

    def clear(self) -> None:
        """Empty the bucket."""
        for name in self.names():
            self.client.delete_object(Bucket="backups", Key=name)


@pytest.fixture(scope="session")
def _s3() -> Iterator[Storage]:
    pytest.importorskip("s3fs")
    import boto3  # type: ignore[import-untyped]
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=address, **keys)
    client.create_bucket(Bucket="backups")
    yield Storage(address, client)
    client.close()
    server.stop()


@pytest.fixture
def s3(_s3: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> Storage:
    """Object storage with an empty bucket `backups`, and no credentials but its own."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("HOME", str(tmp_path))
    _s3.clear()
    return _s3


@pytest.fixture(scope="session")
def _processes() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with running._local_cluster(2) as cluster, distributed.Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(_processes: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of two processes of this machine, as a Runner starts them: those that one starts in this test, too."""
    monkeypatch.setattr(running, "_local_cluster", lambda workers: nullcontext(_processes.cluster))
    return _processes
