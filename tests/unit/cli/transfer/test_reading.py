"""Files as they really come: encodings, delimiters, broken rows, and what is no file of links at all."""

from __future__ import annotations

import codecs
import json
from pathlib import Path

import pytest

from tests.unit.cli.transfer.files import candidates, read, read_bytes, told
from waypost.cli.transfer.csv_records import MAX_SPAN
from waypost.cli.transfer.reading import inspect
from waypost.cli.transfer.records import MAX_RECORD, Candidate, UnusableFile

CSV = "shortCode,longUrl,title\r\nabc,https://example.com/ä,Grüße ☃\r\nxyz,https://example.com/,\r\n"


def aliases(found: object) -> list[str]:
    assert isinstance(found, list)
    return [one.link.alias for one in found if isinstance(one, Candidate)]


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
    ],
)
@pytest.mark.parametrize("shape", ["csv", "json", "lines"])
def test_a_byte_order_mark_says_the_encoding(mark: bytes, encoding: str, shape: str, tmp_path: Path) -> None:
    records = [
        {"shortCode": "abc", "longUrl": "https://example.com/ä", "title": "Grüße ☃"},
        {"shortCode": "xyz", "longUrl": "https://example.com/"},
    ]
    text = {
        "csv": CSV,
        "json": json.dumps({"shortUrls": {"data": records}}, ensure_ascii=False),
        "lines": "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records),
    }[shape]
    one, other = candidates(read_bytes(tmp_path, mark + text.encode(encoding)))
    assert (one.link.url, one.link.alias, one.link.title) == ("https://example.com/ä", "abc", "Grüße ☃")
    assert other.link.alias == "xyz"


def test_an_encoding_can_be_given(tmp_path: Path) -> None:
    one, _ = candidates(read_bytes(tmp_path, CSV.replace(" ☃", "").encode("cp1252"), encoding="cp1252"))
    assert one.link.title == "Grüße"


def test_bytes_that_are_not_utf_8_spoil_their_own_record_only(tmp_path: Path) -> None:
    found = read_bytes(tmp_path, CSV.replace(" ☃", "").encode("cp1252"))
    assert told(found) == [
        ("line 2", "failed", "it has bytes that are not UTF-8: give the file's --encoding, with --restart")
    ]
    assert aliases(found) == ["xyz"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("header", ["Short Code{0}LONG_URL{0}Title", "shortcode{0}Long Url{0}TITLE", "sep={0}\n"])
def test_delimiters_line_ends_and_spellings_of_names_vary(
    delimiter: str, end: str, header: str, tmp_path: Path
) -> None:
    if header.startswith("sep"):
        header += "shortCode{0}longUrl{0}title"
    lines = [
        *header.format(delimiter).split("\n"),
        f'abc{delimiter}https://example.com/{delimiter}"a{end}b{delimiter}"',
    ]
    (one,) = candidates(read_bytes(tmp_path, end.join(lines).encode()))
    assert (one.link.alias, one.link.url) == ("abc", "https://example.com/")
    assert one.link.title == f"a b{delimiter}".strip()


def test_empty_lines_are_no_records_and_places_are_where_records_begin(tmp_path: Path) -> None:
    text = '\n\naddress,target,description\n\nab,https://e.example/,"1\n2"\n\ncd,https://e.example/,\n'
    assert [place for place, _, _ in told(read_bytes(tmp_path, text.encode()))] == ["line 5", "line 8"]


@pytest.mark.parametrize("row", ["abc,https://example.com/a,b,title", "abc,https://exam"])
def test_a_row_of_another_width_is_told_and_not_guessed_at(row: str, tmp_path: Path) -> None:
    found = read_bytes(tmp_path, f"address,target,description\n{row}\nxyz,https://example.com/,\n".encode())
    cells = row.count(",") + 1
    assert told(found) == [
        ("line 2", "failed", f"it has {cells} cells where the header has 3: is something not quoted, or cut off?")
    ]
    assert aliases(found) == ["xyz"]


def test_empty_cells_at_the_end_of_a_row_are_none(tmp_path: Path) -> None:
    assert aliases(read_bytes(tmp_path, b"address,target\nabc,https://example.com/,,\n")) == ["abc"]


def test_a_quote_that_is_never_closed_loses_one_record_only(tmp_path: Path) -> None:
    rows = "".join(f"code{i},https://example.com/{i},\n" for i in range(2000))
    found = read_bytes(tmp_path, f'address,target,description\nbad,https://example.com/,"open\n{rows}'.encode())
    assert told(found) == [("line 2", "failed", "a quote opens in it that is never closed")]
    assert aliases(found) == [f"code{i}" for i in range(2000)]


def test_a_record_that_is_too_large_is_skipped_and_the_next_one_read(tmp_path: Path) -> None:
    small = "abc,https://example.com/,\n"
    for large in (
        f'big,https://example.com/,"{"x" * MAX_RECORD}"\n',
        'big,https://example.com/,"' + "line\n" * (MAX_RECORD // 5) + '"\n',
        f"big,https://example.com/,{'x' * (MAX_SPAN + 10)}\n",
    ):
        found = read_bytes(tmp_path, f"address,target,description\n{large}{small}".encode())
        assert told(found) == [("line 2", "skipped", "it is larger than 64 KiB")]
        assert aliases(found) == ["abc"]


def test_a_json_record_that_is_too_large_is_skipped_and_the_next_one_read(tmp_path: Path) -> None:
    good = {"address": "abc", "target": "https://example.com/"}
    for big in (
        {"address": "big", "target": "https://example.com/", "description": "x" * MAX_RECORD},
        {"address": "big", "target": "https://example.com/", "more": [[i] for i in range(5000)]},
    ):
        found = read_bytes(tmp_path, json.dumps({"data": [good, big, good]}).encode())
        assert told(found) == [("record 2", "skipped", "it is larger than 64 KiB")]
        assert aliases(found) == ["abc", "abc"]
    lines = "\n".join(json.dumps(one) for one in (good, {**good, "description": "x" * MAX_SPAN}, good))
    found = read_bytes(tmp_path, lines.encode())
    assert told(found) == [("line 2", "skipped", "it is larger than 64 KiB")]


@pytest.mark.parametrize(
    "text",
    [
        '[{"address": "abc", "target": "https://example.com/"}]',
        '{"data": [{"address": "abc", "target": "https://example.com/"}]}',
        '[{"data": [{"address": "abc", "target": "https://example.com/"}], "total": 1}]',
        '{\n"address": "abc",\n"target": "https://example.com/"\n}',
        '\n\n{"address": "abc", "target": "https://example.com/"}',
        '{"a": {"b": {"c": {"address": "abc", "target": "https://example.com/", "x": {"address": 1}}}}}',
    ],
)
def test_records_are_found_in_whatever_encloses_them(text: str, tmp_path: Path) -> None:
    assert aliases(candidates(read_bytes(tmp_path, text.encode()))) == ["abc"]


def test_pages_of_an_api_may_follow_each_other(tmp_path: Path) -> None:
    page = '{"data": [{"address": "%s", "target": "https://example.com/"}]}'
    assert aliases(read_bytes(tmp_path, f"{page % 'abc'}\n{page % 'def'}{page % 'ghi'}".encode())) == [
        "abc",
        "def",
        "ghi",
    ]


def test_a_line_of_json_lines_that_is_none_spoils_no_other(tmp_path: Path) -> None:
    good = '{"address": "abc", "target": "https://example.com/"}\n'
    found = read_bytes(tmp_path, f'{good}{{"address": "cut", "tar\n[1]\nnull\n\n{good}'.encode())
    assert told(found) == [
        ("line 2", "failed", "it is not valid JSON: is the file cut off?"),
        ("line 3", "failed", "it is no JSON object"),
        ("line 4", "failed", "it is no JSON object"),
    ]
    assert aliases(found) == ["abc", "abc"]


EXPECTED = (
    "expected are those of Waypost: short_code, original_url; Bitly: Link (or id), Destination URL (or long_url); "
    "Shlink: shortCode (or shortUrl), longUrl; Kutt: address, target; YOURLS: keyword (or shorturl), url; or source, "
    "target, hits"
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n\n", "is empty"),
        (codecs.BOM_UTF8, "is empty"),
        (b"name;mail\nA;a@example.com\n", f"is in no format known here: it has the columns name, mail; {EXPECTED}"),
        (b'[{"name": "A"}]', f"is in no format known here: it has the fields name; {EXPECTED}"),
        (b"[]", f"is in no format known here: it has the fields (none); {EXPECTED}"),
        (b'{"address": "abc"', "is not valid JSON: parse error: premature EOF"),
        (b"[" * 100_000, "is nested deeper than 64"),
        (b"x" * (MAX_RECORD + 1), "has no header: its first line is very long"),
        (b'{"x": "' + b"y" * 2_000_000 + b'"}', "has a value of more than 1,024 KiB: take it out"),
    ],
)
def test_what_is_no_file_of_links_is_told_in_one_sentence(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableFile) as caught:
        read_bytes(tmp_path, content)
    assert str(caught.value) == f"{tmp_path / 'links'} {message}"


def test_a_forced_format_names_only_its_own_columns(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match=r"has the columns a, b; expected are those of Kutt: address, target$"):
        read_bytes(tmp_path, b"a,b\n1,2\n", form="kutt")


def test_names_of_columns_cannot_drive_a_terminal(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile) as caught:
        read_bytes(tmp_path, b"\x1b[2Ja," + b"b" * 1000 + b",c" * 5000 + b"\n")
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_not_there_or_is_a_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="cannot be read: No such file or directory"):
        inspect(tmp_path / "none.csv")
    with pytest.raises(UnusableFile, match="cannot be read: Is a directory"):
        inspect(tmp_path)


def test_text_in_another_encoding_is_told(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="is not text in utf-16-le: give its --encoding"):
        read_bytes(tmp_path, codecs.BOM_UTF16_LE + CSV.encode("utf-16-le") + b"\x00\xd8\x00")


def test_json_that_breaks_off_gives_what_came_before_and_then_says_so(tmp_path: Path) -> None:
    path = tmp_path / "links.json"
    path.write_text('[{"address": "abc", "target": "https://example.com/"}, {"address": "d')
    with inspect(path).records() as records:
        found = iter(records)
        assert next(found).draft.code == "abc"
        with pytest.raises(UnusableFile, match="is not valid JSON: parse error: premature EOF"):
            next(found)


def test_reading_says_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text("address,target\n" + "abc,https://example.com/\n" * 10_000)
    source = inspect(path)
    assert source.size == path.stat().st_size
    with source.records() as records:
        found = iter(records)
        next(found)
        assert 0 < records.position < source.size / 2
        for _ in found:
            pass
        assert records.position == source.size


def test_a_file_gives_the_same_records_each_time(tmp_path: Path) -> None:
    path = tmp_path / "links.csv"
    path.write_text(CSV)
    assert read(path) == read(path)
