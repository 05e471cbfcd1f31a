"""URLs to trip over: a grammar of what parsers are known to disagree on, and damaged copies of known cases."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.unit.gateway.test_intake import FLAGGED, KEPT, NORMALISED, REFUSED

_CASES = [str(case[1]) for cases in (REFUSED, KEPT, NORMALISED, FLAGGED) for case in cases]
SEEDS = sorted({url for url in _CASES if len(url) < 200})

CHUNKS = [
    *"aZ0.:@/\\?#[]%&=+-_~!$'()*,;<>\"{}|^` ",
    *("//", "\\\\", "/\\", "://", "..", ":80", ":0", ":443", "@a.example", "\\@evil.example", "#@evil.example"),
    *("?@evil.example", ";@evil.example", "%40", "%2f", "%5c", "%00", "%0d%0a", "%25", "%2525", "%zz", "%e2%80%ae"),
    *("xn--", "xn--pple-43d", "[::1]", "::1", "%25eth0", "0x7f", "0177", "127.1", "2130706433", "localhost"),
    *(
        "\0",
        "\t",
        "\r",
        "\n",
        "\x0b",
        "\x1f",
        "\x7f",
        "\x85",
        "\u00a0",
        "\u2028",
        "\u3000",
        "\ufeff",
        "\ud800",
        "\udc00",
    ),
    *("\u00ad", "\u200b", "\u200d", "\u200f", "\u202e", "\u2066", "\ufe0f", "\u0301", "\u034f"),
    *("。", "．", "｡", "：", "／", "＠", "＃", "？", "％", "＼", "⁄", "∕", "℀", "①", "Ⅳ", "ﬁ", "ß", "ς", "İ", "ſ", "K"),
    *("ä", "а", "о", "日", "한", "א", "ع", "١", "👩", "👩\u200d💻", "𝐚", "http:", "https:", "javascript:", "data:"),
]

# Those that do not have a URL refused wherever they stand.
_QUIET_CHUNKS = [chunk for chunk in CHUNKS if chunk.isprintable() and " " not in chunk and "\\" not in chunk]

_SCHEMES = st.sampled_from(
    ["https", "http", "https", "http", "HTTPS", "hTTp", "javascript", "data", "ftp", "ws", "file", "", "һttps", "http "]
)
_SLASHES = st.sampled_from(["://", "://", "://", "://", ":", ":/", ":///", ":\\\\", ":/\\", "//", "：//", ":%2f%2f"])
_USERS = st.sampled_from(["", "", "", "", "user@", "user:pw@", "@", "a@b@", "bank.example%40", "bank.example\\@", ":@"])
_LABELS = st.one_of(
    st.from_regex(r"[a-z0-9_-]{1,6}", fullmatch=True),
    st.from_regex(r"[A-Z]{1,3}", fullmatch=True),
    st.from_regex(r"xn--[a-z0-9-]{1,12}", fullmatch=True),
    st.text(alphabet=st.characters(categories=["L", "M", "N"]), min_size=1, max_size=5),
    st.text(alphabet="אבעم١1a-_", min_size=1, max_size=4),
    st.text(alphabet=st.characters(categories=["L", "M"]), min_size=1, max_size=3).map(
        lambda text: "xn--" + text.encode("punycode").decode("ascii")
    ),
    st.lists(st.sampled_from(CHUNKS), min_size=1, max_size=3).map("".join),
    st.sampled_from(["example", "com", "a" * 63, "a" * 64, "", "localhost"]),
)
_HOSTS = st.one_of(
    # Three sound ones, so that what stands behind the host gets its turn.
    st.from_regex(r"[a-z0-9]{1,6}(\.[a-z0-9_-]{1,6}){0,2}\.[a-z]{2,5}", fullmatch=True),
    st.text(alphabet=st.characters(categories=["Ll", "Lo"]), min_size=1, max_size=4).map("{}.example".format),
    st.sampled_from(
        ["a.example", "münchen.de", "xn--mnchen-3ya.de", "127.1", "[::1]", "bit.ly", "localhost", "א.example"]
    ),
    st.lists(_LABELS, min_size=1, max_size=4).map(".".join),
    st.lists(_LABELS, min_size=1, max_size=3).map(lambda labels: ".".join(labels) + "."),
    st.from_regex(
        r"(0[xX][0-9a-fA-F]{0,8}|0[0-7]{0,11}|[0-9]{1,10})(\.(0x[0-9a-f]{0,2}|[0-9]{1,3})){0,4}\.?", fullmatch=True
    ),
    st.ip_addresses(v=6).map(lambda address: f"[{address}]"),
    st.ip_addresses(v=6).map(lambda address: f"[{address.exploded.upper()}]"),
    st.ip_addresses(v=4).map(lambda address: f"[::ffff:{address}]"),
    st.from_regex(r"\[[0-9a-fA-F:.]{2,25}(%(25)?[a-z0-9]{1,4})?\]?", fullmatch=True),
    st.from_regex(r"(%[0-9a-fA-F]{2}|[a-z.]){1,8}", fullmatch=True),
)
_PORTS = st.one_of(
    st.sampled_from(
        ["", "", "", ":80", ":443", ":0443", ":00080", ":0", ":", ":65536", ":８０", ":+1", ":1:2", ": 80"]
    ),
    st.integers(0, 70_000).map(":{}".format),
)
_QUIET = st.lists(st.sampled_from(_QUIET_CHUNKS), max_size=6).map("".join)
_TAILS = st.one_of(
    st.sampled_from(["", "/", "?", "#"]),
    st.builds("/{}".format, _QUIET),
    st.builds("?{}".format, _QUIET),
    st.builds("#{}".format, _QUIET),
    st.builds("/{}?{}#{}".format, _QUIET, _QUIET, _QUIET),
    st.lists(st.sampled_from(CHUNKS), max_size=4).map("".join),
    st.text(max_size=10).map("/{}".format),
)


@st.composite
def _damaged(draw: st.DrawFn) -> str:
    """A known case with up to three pieces of it cut out or replaced, also by pieces of another case."""
    url = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(url)))
        cut = draw(st.integers(0, 3))
        other = draw(st.sampled_from(SEEDS))
        begin = draw(st.integers(0, len(other)))
        piece = draw(st.sampled_from(["", other[begin : begin + 6], *CHUNKS]))
        url = url[:start] + piece + url[start + cut :]
    return url


NASTY_URLS: st.SearchStrategy[str] = st.one_of(
    st.builds("{}{}{}{}{}{}".format, _SCHEMES, _SLASHES, _USERS, _HOSTS, _PORTS, _TAILS),
    # The front of these is sound, so that many are taken and every part after it is tried.
    st.builds("https://{}{}{}".format, _HOSTS, _PORTS, _TAILS),
    st.builds("http://{}{}".format, _HOSTS, _TAILS),
    _damaged(),
    st.text(max_size=40),
)
