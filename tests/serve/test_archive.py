"""Unpacking an artifact: what is refused."""

import io
import tarfile

import pytest

from containers.common.archive import unpack
from containers.common.errors import ModelError

SIZE = 300_000  # bytes: several of deflate's stored blocks


def packed(tmp_path, *members: tarfile.TarInfo):
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for member in members:
            member.size = 4 if member.isfile() else 0
            tar.addfile(member, io.BytesIO(b"data"))
    return path


def test_plain_files_are_unpacked(tmp_path):
    (tmp_path / "out").mkdir()
    unpack(packed(tmp_path, tarfile.TarInfo("card.json"), tarfile.TarInfo("model.onnx")), tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == {
        "card.json": b"data",
        "model.onnx": b"data",
    }


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "folder/file", "a/.."])
def test_no_member_leads_elsewhere(tmp_path, name):
    with pytest.raises(ModelError, match="plain files only"):
        unpack(packed(tmp_path, tarfile.TarInfo(name)), tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_nothing_but_files(tmp_path, kind):
    member = tarfile.TarInfo("card.json")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(ModelError, match="plain files only"):
        unpack(packed(tmp_path, member), tmp_path)


@pytest.mark.parametrize(
    ("damage", "said"), [(b"\0", "CRC check failed"), (b"\xff" * 70_000, "invalid")], ids=["byte", "block"]
)
def test_damage_that_only_the_compression_shows(tmp_path, damage, said):
    path = tmp_path / "model.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=0) as tar:
        member = tarfile.TarInfo("model.onnx")
        member.size = SIZE
        tar.addfile(member, io.BytesIO(b"\x01" * SIZE))
    data = bytearray(path.read_bytes())
    data[SIZE // 2 : SIZE // 2 + len(damage)] = damage
    path.write_bytes(data)
    with pytest.raises(ModelError, match=f"damaged: .*{said}"):
        unpack(path, tmp_path)


def test_a_damaged_and_a_missing_archive(tmp_path):
    path = packed(tmp_path, tarfile.TarInfo("card.json"))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(ModelError, match="damaged"):
        unpack(path, tmp_path)
    with pytest.raises(ModelError, match="missing"):
        unpack(tmp_path / "absent", tmp_path)
