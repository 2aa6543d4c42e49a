"""What is named is found once, in its order, and looked at before anything is read."""

import codecs
import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ops.errors import UsageError
from processor.history.inputs import unpacking
from processor.history.inputs.files import find
from processor.history.inputs.pipes import STDIN, name_of

LINE = b'{"id": "1"}\n'


def laid(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(LINE) if name.endswith(".gz") else LINE)
    return root


def found(root: Path, *named: str | Path) -> list[str]:
    return [str(each.path.relative_to(root)) for each in find([str(each) for each in named]).files]


def test_a_directory_is_its_files_of_known_endings_by_name(tmp_path: Path) -> None:
    root = laid(
        *(tmp_path, "b.jsonl", "a/2.ndjson", "a/1.json.gz", "a/b/x.jsonl", "c.txt", "README"),
        *(".hidden.jsonl", ".git/x.jsonl", "_SUCCESS", "_temporary/x.jsonl", "a/x.jsonl.crc"),
    )
    assert found(root, root) == ["a/1.json.gz", "a/2.ndjson", "a/b/x.jsonl", "b.jsonl"]
    left_out = [Path(each).relative_to(root).as_posix() for each in find([str(root)]).left_out]
    assert sorted(left_out) == [
        *(".git", ".hidden.jsonl", "README", "_SUCCESS", "_temporary", "a/x.jsonl.crc", "c.txt")
    ]


def test_files_come_as_they_are_given(tmp_path: Path) -> None:
    root = laid(tmp_path, "b.jsonl", "a.jsonl", "d/c.jsonl", "no-ending")
    names = [root / "d", root / "no-ending", root / "b.jsonl", root / "a.jsonl"]
    assert found(root, *names) == ["d/c.jsonl", "no-ending", "b.jsonl", "a.jsonl"]


def test_a_pattern_that_no_shell_has_read_is_read(tmp_path: Path) -> None:
    root = laid(tmp_path, "2025/01/a.log", "2025/02/b.log", "2025/b.jsonl", "2025/x", "c.log")
    assert found(root, root / "**/*.log") == ["2025/01/a.log", "2025/02/b.log", "c.log"]
    assert found(root, root / "2025/0[12]/?.log") == ["2025/01/a.log", "2025/02/b.log"]
    assert found(root, root / "20*") == ["2025/b.jsonl"]  # a directory is read as one
    assert found(root, root / "**") == ["2025/b.jsonl"]
    assert [Path(each).name for each in find([f"{root}/2025/*"]).left_out] == [
        *("a.log", "b.log", "x")
    ]


def test_a_name_with_the_signs_of_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    root = laid(tmp_path, "a[1].jsonl", "a1.jsonl")
    assert found(root, root / "a[1].jsonl") == ["a[1].jsonl"]


def test_a_file_that_is_named_twice_is_read_once(tmp_path: Path) -> None:
    root = laid(tmp_path, "d/a.jsonl", "d/b.jsonl")
    (root / "link.jsonl").symlink_to("d/b.jsonl")
    (root / "dlink").symlink_to("d")
    (root / "d/hard.jsonl").hardlink_to(root / "d/a.jsonl")
    named = [root / "link.jsonl", root / "d", root / "d/*", root / "dlink", root / "d/../d/a.jsonl"]
    assert found(root, *named) == ["link.jsonl", "d/a.jsonl"]


def test_links_of_a_directory_are_followed_and_end(tmp_path: Path) -> None:
    root = laid(tmp_path, "d/a.jsonl", "e/b.jsonl")
    (root / "d/around").symlink_to("..")
    assert found(root, root / "d") == ["d/a.jsonl", "d/around/e/b.jsonl"]


def test_a_pipe_is_not_looked_into(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (fifo,) = find([str(tmp_path / "fifo")]).files
    assert fifo.is_read_once


def test_a_file_is_known_by_size_and_time(tmp_path: Path) -> None:
    path = laid(tmp_path, "a.jsonl") / "a.jsonl"
    os.utime(path, ns=(1, 5_000_000_000))
    (file,) = find([str(path)]).files
    assert (file.size, file.is_read_once) == (len(LINE), False)


def test_what_is_not_there_ends_it(tmp_path: Path) -> None:
    root = laid(tmp_path, "a.jsonl", "empty/README")
    for name, word in [
        (root / "nowhere.jsonl", "nowhere.jsonl: No such file or directory"),
        (root / "a.jsonl/b", "a.jsonl/b: Not a directory"),
        (root / "*.ndjson", r"\*\.ndjson: no file matches this pattern"),
        (root / "empty", "empty: nothing in this directory is read; files are taken that end in"),
        (root / "empty/**", "no file matches"),
    ]:
        with pytest.raises(UsageError, match=word) as refused:
            find([str(root / "a.jsonl"), str(name)])
        assert refused.value.message.startswith(str(name))


def test_a_link_to_nothing_is_told(tmp_path: Path) -> None:
    root = laid(tmp_path, "d/a.jsonl")
    (root / "d/b.jsonl").symlink_to("gone")
    for named in ("d", "d/*.jsonl"):
        with pytest.raises(UsageError, match=r"d/b\.jsonl: No such file"):
            find([str(root / named)])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    root = laid(tmp_path, "a.jsonl", "d/b.jsonl")
    (root / "a.jsonl").chmod(0)
    (root / "d").chmod(0)
    try:
        for named in ("a.jsonl", "d"):
            with pytest.raises(UsageError, match=f"{named}: Permission denied"):
                find([str(root / named)])
    finally:
        (root / "d").chmod(0o700)


def test_a_table_of_delta_lake_is_no_directory_of_parquet(tmp_path: Path) -> None:
    root = laid(tmp_path, "t/_delta_log/0.json", "t/part-0.json")
    with pytest.raises(UsageError, match=f"{root}/t: this is a table of Delta Lake"):
        find([str(root)])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"BZh91AY", "this is bzip2: bzcat it, and give the lines by a pipe: bzcat FILE"),
        (b"\xfd7zXZ\x00", "this is xz: xzcat it"),
        (b"PK\x03\x04", "this is zip: unzip -p it"),
        ("one\ntwo\n".encode("utf-16"), "this is UTF-16: iconv -f UTF-16 -t UTF-8 it"),
        (codecs.BOM_UTF16_BE + "one\n".encode("utf-16-be"), "this is UTF-16"),
    ],
    ids=["bzip2", "xz", "zip", "UTF-16", "UTF-16 of the other order"],
)
def test_what_holds_no_lines_is_refused_with_a_word(
    tmp_path: Path, content: bytes, word: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(pack(content))
    with pytest.raises(UsageError, match=word) as refused:
        find([str(path)])
    assert refused.value.message.startswith(str(path))


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("a.jsonl.gz", b"", "it is empty, which nothing that is packed is"),
        ("a.jsonl.zst", b"", "it is empty"),
        ("a.parquet", b"", "does not begin as Parquet does"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(LINE)), "is packed once more"),
        ("a.jsonl.gz", b"\x1f\x8bnonsense", "its gzip data are broken"),
        ("a.jsonl.gz", gzip.compress(LINE)[:12], "its gzip data are broken or cut off"),
        ("a.jsonl.zst", b"\x28\xb5\x2f\xfd....", "its zstd data are broken"),
    ],
    ids=["no gzip", "no zstd", "no parquet", "gzip twice", "junk", "cut off", "junk of zstd"],
)
def test_what_is_not_as_it_is_named_is_refused(
    tmp_path: Path, name: str, content: bytes, word: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=word):
        find([str(tmp_path)])


def test_what_curl_has_unpacked_already_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(LINE)
    assert found(tmp_path, tmp_path) == ["a.jsonl.gz"]


def test_a_name_beyond_utf8_can_be_told() -> None:
    assert name_of(Path(os.fsdecode(b"/tmp/a\xefb"))) == "/tmp/a\\xefb"
    assert name_of(STDIN) == "<stdin>"


def test_what_is_looked_at_is_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Watched(unpacking.CountedFile):
        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            read.append(self.bytes_read)
            return found

    monkeypatch.setattr(unpacking, "CountedFile", Watched)
    (tmp_path / "a.jsonl").write_bytes(LINE * 100_000)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(os.urandom(1 << 20)))
    find([str(tmp_path)])
    assert max(read) < 1 << 18
