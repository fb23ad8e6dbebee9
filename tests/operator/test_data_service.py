"""services/data against a real S3 server (moto's) that stands in for the public bucket and for AWS."""

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import boto3
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from containers.common import manifest, synthetic
from containers.common.errors import DataError, SettingsError
from services import console, data
from services.aws import Aws
from services.settings import Settings
from tests import ROOT

BUCKET = "sagemaker-us-east-1-123456789012"


@pytest.fixture(scope="module")
def server():
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def shell(server, monkeypatch):
    """A shell as ``make -s env`` leaves it, with nothing of the caller's own."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BINTALLY_", "ABID_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "localcloud")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "localcloud")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield monkeypatch
    urllib.request.urlopen(urllib.request.Request(f"{server}/moto-api/reset", method="POST")).close()


@pytest.fixture(scope="module")
def bins(tmp_path_factory) -> Path:
    """60 rendered bins in the bucket's layout, 6 of them as extras."""
    folder = tmp_path_factory.mktemp("bins")
    synthetic.render_dataset(folder, 60, seed=3, workers=1)
    lists = json.loads((folder / "file_list.json").read_text())
    extras = {count: [p for p in paths if Path(p).stem >= "00055"] for count, paths in lists.items()}
    main = {count: [p for p in paths if Path(p).stem < "00055"] for count, paths in lists.items()}
    (folder / "file_list.json").write_text(json.dumps(main))
    (folder / "extra_list.json").write_text(json.dumps(extras))
    return folder


def copy_of(bins: Path, folder: Path) -> Path:
    for path in bins.rglob("*.*"):
        target = folder / path.relative_to(bins)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return folder


def service(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "services.data", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def rows_of(work: Path) -> list[manifest.Row]:
    return manifest.read(work / "manifest.csv")


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def keys_under(uri: str) -> dict[str, bytes]:
    bucket, prefix = uri.removeprefix("s3://").split("/", 1)
    s3 = boto3.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    return {key[len(prefix) + 1 :]: s3.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def files_under(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_folder_becomes_class_folders_a_manifest_and_objects(shell, bins, tmp_path):
    summary = data.main(["--source", str(bins), "--work", str(tmp_path), "--workers", "1"])
    rows = rows_of(tmp_path)
    local = files_under(tmp_path / "dataset")
    assert local.keys() == {f"{row.split}/{row.count}/{row.name}.jpg" for row in rows} and len(rows) == 54
    for row in rows:
        content = local[f"{row.split}/{row.count}/{row.name}.jpg"]
        assert content == (bins / "bin-images" / f"{row.name}.jpg").read_bytes()
        assert digest(content) == row.sha256
        assert Image.open(io.BytesIO(content)).size == (row.width, row.height)

    fingerprint = manifest.fingerprint(rows)
    assert summary["s3_uri"] == f"s3://{BUCKET}/bintally/data/{fingerprint[:16]}"
    assert keys_under(summary["s3_uri"]) == {
        **local,
        "manifest.csv": (tmp_path / "manifest.csv").read_bytes(),
    }
    assert json.loads((tmp_path / "dataset.json").read_text()) == summary
    assert summary["fingerprint"] == fingerprint
    assert sum(sum(counts.values()) for counts in summary["counts"].values()) == 54


@pytest.mark.parametrize("place", ["no.csv", f"s3://{BUCKET}/nowhere"])
def test_a_manifest_that_is_not_there_costs_nothing(shell, bins, tmp_path, place):
    arguments = ["--source", str(bins), "--work", str(tmp_path), "--workers", "1"]
    data.main(arguments)
    before = files_under(tmp_path)
    with pytest.raises(DataError, match=f"--sides-of {place}: "):
        data.main([*arguments, "--sides-of", place])
    assert files_under(tmp_path) == before


def test_a_second_run_uploads_only_what_is_missing(shell, bins, tmp_path):
    arguments = ["--source", str(bins), "--work", str(tmp_path), "--workers", "1"]
    uri = data.main(arguments)["s3_uri"]
    s3, prefix = boto3.client("s3"), uri.split("/", 3)[3]
    whole = keys_under(uri)
    first, second, *_ = whole
    s3.delete_object(Bucket=BUCKET, Key=f"{prefix}/{first}")
    s3.put_object(Bucket=BUCKET, Key=f"{prefix}/{second}", Body=b"cut off")
    third = f"{prefix}/{list(whole)[2]}"
    s3.put_object_tagging(Bucket=BUCKET, Key=third, Tagging={"TagSet": [{"Key": "seen", "Value": "1"}]})
    assert data.main(arguments)["s3_uri"] == uri
    assert keys_under(uri) == whole
    # writing an object again would have dropped its tags
    assert s3.get_object_tagging(Bucket=BUCKET, Key=third)["TagSet"]


def test_extras_join_training_only_and_leave_the_split_as_it_was(shell, bins, tmp_path):
    common = ["--source", str(bins), "--no-upload", "--workers", "1", "--seed", "4", "--work"]
    data.main([*common, str(tmp_path / "without")])
    data.main([*common, str(tmp_path / "with"), "--use-extra"])
    without = {row.name: row.split for row in rows_of(tmp_path / "without")}
    with_extras = {row.name: row.split for row in rows_of(tmp_path / "with")}
    assert without.items() <= with_extras.items()
    added = with_extras.keys() - without.keys()
    assert added and {with_extras[name] for name in added} == {"train"}
    sides: dict[str, set[str]] = {}
    for row in rows_of(tmp_path / "with"):
        sides.setdefault(row.group, set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())


def test_damaged_and_missing_photographs_are_set_aside_and_listed(shell, bins, tmp_path):
    folder = copy_of(bins, tmp_path / "bins")
    (folder / "bin-images" / "00001.jpg").unlink()
    (folder / "bin-images" / "00002.jpg").write_bytes(b"not a photograph")
    whole = (folder / "bin-images" / "00003.jpg").read_bytes()
    (folder / "bin-images" / "00003.jpg").write_bytes(whole[: len(whole) // 2])
    work = tmp_path / "work"
    data.main(["--source", str(folder), "--work", str(work), "--no-upload", "--workers", "1"])
    with (work / "set_aside.csv").open(newline="") as stream:
        aside = {line["name"]: line["reason"] for line in csv.DictReader(stream)}
    assert aside.keys() == {"00001", "00002", "00003"}
    assert aside["00001"] == "missing" and all(aside.values())
    assert not aside.keys() & {row.name for row in rows_of(work)}

    # mended, they come back; and a photograph that goes away leaves the class folders
    (folder / "bin-images" / "00003.jpg").write_bytes(whole)
    (folder / "bin-images" / "00004.jpg").unlink()
    data.main(["--source", str(folder), "--work", str(work), "--no-upload", "--workers", "1"])
    names = {path.stem for path in (work / "dataset").rglob("*.jpg")}
    assert names == {row.name for row in rows_of(work)}
    assert "00003" in names and "00004" not in names


def test_the_public_bucket_is_read_unsigned_resumed_and_forgiven(shell, server, bins, tmp_path):
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket="bins-in-public")
    for path in bins.rglob("*.*"):
        s3.put_object(
            Bucket="bins-in-public",
            Key=str(path.relative_to(bins)),
            Body=path.read_bytes(),
            ACL="public-read",
        )
    s3.delete_object(Bucket="bins-in-public", Key="bin-images/00001.jpg")
    lists = ["--file-list", str(bins / "file_list.json"), "--extra-list", str(bins / "extra_list.json")]
    work = tmp_path / "abid"
    (work / "raw" / "bin-images").mkdir(parents=True)
    (work / "raw" / "bin-images" / "00002.jpg").write_bytes((bins / "bin-images" / "00003.jpg").read_bytes())
    (work / "raw" / "bin-images" / "00004.jpg.part").write_bytes(b"half")

    # Everything else points where nothing listens: only the override may be followed, without credentials.
    shell.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        shell.delenv(name)
    shell.setenv("ABID_ENDPOINT_URL", server)
    shell.setenv("ABID_BUCKET", "bins-in-public")
    common = ["--source", "abid", *lists, "--no-upload", "--workers", "1"]
    data.main([*common, "--work", str(work)])

    raw = work / "raw"
    names = {path.stem for path in (raw / "bin-images").glob("*.jpg")}
    assert names == {f"{n:05d}" for n in range(2, 55)}  # extras are not fetched
    assert (raw / "bin-images" / "00002.jpg").read_bytes() == (bins / "bin-images" / "00003.jpg").read_bytes()
    assert (raw / "bin-images" / "00004.jpg").read_bytes() == (bins / "bin-images" / "00004.jpg").read_bytes()
    fetched = {path.name: path.read_bytes() for path in (raw / "metadata").iterdir()}
    assert fetched == {path.name: path.read_bytes() for path in (bins / "metadata").iterdir()}
    assert "00001,missing" in (work / "set_aside.csv").read_text()

    data.main([*common, "--work", str(work), "--use-extra"])
    assert (raw / "bin-images" / "00060.jpg").exists()


class BreaksOff(BaseHTTPRequestHandler):
    """Serves ``files`` by path, but every file's first answer ends in the middle."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        content = self.files[self.path]
        again = self.path in self.asked
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if again else content[: len(content) // 2])
        self.close_connection = True

    def log_message(self, *_):
        pass


def test_a_download_that_breaks_off_is_repeated(shell, bins, tmp_path):
    names = ["00001", "00002", "00003", "00004", "00005"]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({str(count): [name] for count, name in enumerate(names, 1)}))
    photographs = {
        f"/aft-vbi-pds/bin-images/{n}.jpg": (bins / "bin-images" / f"{n}.jpg").read_bytes() for n in names
    }
    BreaksOff.files = photographs | {
        f"/aft-vbi-pds/metadata/{n}.json": b'{"BIN_FCSKU_DATA": {}}' for n in names
    }
    with ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff) as breaking:
        threading.Thread(target=breaking.serve_forever, daemon=True).start()
        shell.setenv("ABID_ENDPOINT_URL", f"http://127.0.0.1:{breaking.server_port}")
        arguments = ["--source", "abid", "--file-list", str(listed), "--no-upload", "--workers", "1"]
        data.main([*arguments, "--work", str(tmp_path / "work")])
        breaking.shutdown()
    assert all(BreaksOff.asked.count(path) == 2 for path in BreaksOff.files)
    assert {digest(content) for content in photographs.values()} == {
        row.sha256 for row in rows_of(tmp_path / "work")
    }


def test_a_public_bucket_that_is_not_there_is_an_error(shell, server, bins, tmp_path):
    shell.setenv("ABID_ENDPOINT_URL", server)
    shell.setenv("ABID_BUCKET", "no-such-bucket")
    lists = ("--file-list", bins / "file_list.json")
    done = service("--source", "abid", *lists, "--no-upload", "--work", tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: cannot read s3://no-such-bucket")
    assert "Traceback" not in done.stderr and not (tmp_path / "dataset.json").exists()


def test_synthetic_bins_end_in_the_same_place(shell, tmp_path):
    shell.chdir(tmp_path)
    summary = data.main(["--source", "synthetic", "--photographs", "40", "--no-upload", "--workers", "1"])
    work = Path(".local/data/synthetic-0")
    assert len(rows_of(work)) == 40 and summary["s3_uri"] is None
    assert sum(summary["counts"]["test"].values()) in (3, 4, 5)


def test_limit_takes_so_many_of_every_count(shell, bins, tmp_path):
    data.main(["--source", str(bins), "--limit", "3", "--no-upload", "--work", str(tmp_path)])
    counts = [row.count for row in rows_of(tmp_path)]
    assert all(counts.count(count) == 3 for count in manifest.COUNTS)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"1": ["data/metadata/00001.json", "00001"]}', "00001"),
        ('{"1": ["data/metadata/00001.json"], "2": ["data/metadata/00001.json"]}', "00001 .*counts 1 and 2"),
        ('{"0": ["data/metadata/00001.json"]}', "count 0; counts are 1 to 5"),
        ('{"1": ["data/metadata/.json"]}', "names that no photograph can have"),
        ("[1, 2]", "not of the form"),
        ("{", "not of the form"),
    ],
)
def test_lists_that_cannot_be_right_are_refused(shell, bins, tmp_path, text, complaint):
    listed = tmp_path / "list.json"
    listed.write_text(text)
    with pytest.raises(DataError, match=complaint):
        data.main(
            ["--source", str(bins), "--file-list", str(listed), "--no-upload", "--work", str(tmp_path / "w")]
        )


def test_a_photograph_in_both_lists_is_named(shell, bins, tmp_path):
    both = ["--file-list", str(bins / "file_list.json"), "--extra-list", str(bins / "file_list.json")]
    with pytest.raises(DataError, match="in both"):
        data.main(["--source", str(bins), *both, "--no-upload", "--work", str(tmp_path)])


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--source", "abid"], "needs --file-list"),
        (["--source", "/no/such/folder"], "no folder"),
        (["--source", "."], "file_list.json is missing"),
    ],
)
def test_a_source_that_lacks_something_says_so_in_one_line(shell, tmp_path, arguments, complaint):
    done = service(*arguments, "--no-upload", "--work", tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and complaint in done.stderr


def test_nothing_goes_to_aws_itself_without_the_flag(shell, bins, tmp_path):
    shell.delenv("AWS_ENDPOINT_URL")
    done = service("--source", bins, "--work", tmp_path)
    assert done.returncode == 1
    assert done.stdout == "target: AWS itself, region us-east-1\n"
    assert len(done.stderr.splitlines()) == 1 and "add --aws" in done.stderr
    assert not list(tmp_path.iterdir())


def test_the_flag_and_an_endpoint_contradict_each_other(shell):
    with pytest.raises(SettingsError, match="unset AWS_ENDPOINT_URL"):
        console.target(Aws(Settings.load()), allow_aws=True)


def test_the_target_comes_first(shell, server, bins, tmp_path):
    done = service("--source", bins, "--work", tmp_path, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"target: localcloud at {server}"
    assert f"s3://{BUCKET}/bintally/data/" in done.stdout


def test_localcloud_that_is_down_is_named(shell, bins, tmp_path):
    shell.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    shell.setenv("AWS_MAX_ATTEMPTS", "1")
    done = service("--source", bins, "--work", tmp_path, "--workers", 1)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "error: localcloud is not running at http://127.0.0.1:9: make up"


def test_the_bucket_is_made_where_it_belongs(shell):
    shell.setenv("AWS_REGION", "eu-west-1")
    aws = Aws(Settings.load())
    assert aws.default_bucket() == aws.default_bucket() == "sagemaker-eu-west-1-123456789012"
    where = aws.client("s3").get_bucket_location(Bucket=aws.default_bucket())
    assert where["LocationConstraint"] == "eu-west-1"


def test_flags_override_variables_override_defaults(shell):
    flags = data.parser().parse_args(["--source", "synthetic"])
    assert Settings.load(flags).bucket == ""
    shell.setenv("BINTALLY_BUCKET", "from-the-environment")
    assert Settings.load(flags).bucket == "from-the-environment"
    flags.bucket = "from-a-flag"
    assert Settings.load(flags).bucket == "from-a-flag"


def test_an_unknown_setting_is_an_error(shell):
    shell.setenv("BINTALLY_BUKCET", "x")
    with pytest.raises(SettingsError, match=r"BINTALLY_BUKCET; known: .*BINTALLY_BUCKET"):
        Settings.load()
