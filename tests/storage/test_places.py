"""What a user types as storage, and what each kind of storage does."""

import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from object_store import ObjectStore
from small_disk import SmallDisk, mounted

from kdtune.storage import Location, StorageError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path / "disk") as small:
        yield small


@pytest.mark.parametrize(
    ("typed", "uri"),
    [
        ("/nfs/results", "/nfs/results"),
        ("file:///nfs/my%20results", "/nfs/my results"),
        ("s3://bucket", "s3://bucket"),
        ("S3://bucket//a b/ü/", "s3://bucket/a%20b/%C3%BC"),
        ("s3://bucket/a%20b?region=eu-west-1", "s3://bucket/a%20b?region=eu-west-1"),
        ("gs://anonymous@bucket/a", "gs://anonymous@bucket/a"),
    ],
)
def test_what_a_user_types_becomes_one_uri(typed: str, uri: str) -> None:
    found = Location.parse(typed)
    assert (found.uri, found.is_local) == (uri, uri.startswith("/"))
    assert Location.parse(found.uri) == found
    assert found.local.is_absolute()


def test_a_relative_folder_is_of_the_current_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Location.parse("kdtune-results").local == tmp_path / "kdtune-results"
    assert Location.parse("~/x").local == Path.home() / "x"


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("", "a folder or a URI"),
        ("a\0b", "a folder or a URI"),
        ("s4://bucket", "did you mean 's3'.*Choices: file, gs, s3"),
        ("ftp://host/x", "Choices: file, gs, s3"),
        ("s3:/bucket", "starts with 's3://'"),
        ("s3://", "name of a bucket"),
        ("s3:///x", "name of a bucket"),
        ("file://host/x", "three slashes"),
        ("s3://bucket/../other", "plain part of a path"),
        ("s3://bucket/a%2F..%2Fb", "plain part of a path"),
    ],
)
def test_what_is_no_storage_is_refused_with_the_choices(typed: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        Location.parse(typed)


@pytest.mark.parametrize("typed", ["s3://AKIA:hunter2@bucket/x", "s3://b?access_key=hunter2"])
def test_credentials_are_refused_and_not_repeated(typed: str) -> None:
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID") as refusal:
        Location.parse(typed)
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "..\\x", "a\0"])
def test_a_name_cannot_lead_out_of_a_folder(location: Location, name: str) -> None:
    for use in (location.child, location.read, location.remove):
        with pytest.raises(StorageError, match="one plain part of a path"):
            use(name)
    with pytest.raises(StorageError, match="one plain part of a path"):
        location.write(name, b"")


def test_what_is_written_is_read_listed_and_deleted(location: Location) -> None:
    location.check_writable()
    assert location.names() == ()
    deep = location.child("tiefer")
    deep.write("ä b.txt", b"old")
    deep.write("ä b.txt", b"new")
    assert deep.read("ä b.txt") == b"new"
    assert (location.names(), deep.names()) == (("tiefer",), ("ä b.txt",))
    deep.remove("ä b.txt")
    deep.remove("ä b.txt")
    assert deep.names() == ()
    with pytest.raises(FileNotFoundError):
        deep.read("ä b.txt")


def test_a_reader_sees_the_old_content_or_the_new(tmp_path: Path) -> None:
    location = Location.parse(tmp_path)
    contents = [bytes([letter]) * 300_000 for letter in b"ab"]
    location.write("file", contents[0])
    over = threading.Event()

    def rewrite() -> None:
        while not over.is_set():
            for content in contents:
                location.write("file", content)

    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(rewrite)
        read = []
        while len(read) < 200 or set(read) < set(contents):
            read.append(location.read("file"))
        over.set()
        writing.result()
    assert set(read) == set(contents)


def test_the_uri_of_a_folder_is_all_that_it_takes_to_find_it(location: Location) -> None:
    assert Location.parse(location.child("x").uri) == location.child("x")


def test_a_bucket_that_is_not_there_is_named_with_the_remedy(objects: ObjectStore) -> None:
    with pytest.raises(StorageError, match=r"'s3://missing/x/.*make the bucket first"):
        objects.location("x", bucket="missing").check_writable()


def test_an_unknown_option_of_a_uri_is_named() -> None:
    with pytest.raises(StorageError, match=r"cannot open 's3://bucket'.*'regoin'"):
        Location.parse("s3://bucket?regoin=eu").names()


def test_a_read_only_disk_is_named_with_the_reason(disk: SmallDisk) -> None:
    disk.make_read_only()
    with pytest.raises(StorageError, match=f"'{disk.folder}/.*Read-only.*another storage"):
        Location.parse(disk.folder).check_writable()


def test_a_full_disk_keeps_what_was_there(disk: SmallDisk) -> None:
    location = Location.parse(disk.folder)
    location.write("file", b"old")
    disk.fill()
    with pytest.raises(StorageError, match=f"'{disk.folder}/file': No space left.*free space"):
        location.write("file", bytes(9000))
    assert location.read("file") == b"old"
    assert set(location.names()) == {"ballast", "file"}


def test_a_file_beyond_the_limit_of_its_size_keeps_what_was_there(tmp_path: Path) -> None:
    location = Location.parse(tmp_path)
    location.write("file", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match="File too large"):
            location.write("file", bytes(9000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert location.read("file") == b"old"
    assert location.names() == ("file",)
