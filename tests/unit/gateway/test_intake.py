"""Destinations: what is refused, what is kept byte for byte, what is flagged."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.hosts import BadHost
from gateway.intake import Intake, location
from waypost.errors import InvalidFields
from waypost.model import DestinationFlag as Flag

INTAKE = Intake(["go.waypost.example", "xn--mnchen-3ya.waypost.example", "192.0.2.9:8080", "::9"])
PUBLIC_ONLY = Intake([], allow_private_hosts=False)


def flags(url: str) -> set[Flag]:
    return set(INTAKE.destination(url).flags)


def refusal(url: str, intake: Intake = INTAKE) -> str:
    with pytest.raises(InvalidFields) as caught:
        intake.destination(url)
    (violation,) = caught.value.violations
    assert violation.field == "url"
    # It reaches logs and terminals.
    assert violation.description.isascii()
    assert violation.description.isprintable()
    return violation.description


REFUSED = [
    ("empty", "", "must not be empty"),
    ("javascript", "javascript:alert(1)", "must start with https:// or http://"),
    ("javascript-after-space", " JaVaScRiPt:alert(1)", "space or control"),
    ("javascript-with-tab", "java\tscript:alert(1)", "U+0009"),
    ("javascript-after-control", "\x08javascript:alert(1)", "U+0008"),
    ("javascript-with-authority", "javascript://a.example/%0aalert(1)", "must start with"),
    ("data", "data:text/html,<script>", "must start with"),
    ("vbscript", "vbscript:x", "must start with"),
    ("file", "file:///etc/passwd", "must start with"),
    ("blob", "blob:https://a/b", "must start with"),
    ("view-source", "view-source:https://a", "must start with"),
    ("ftp", "ftp://a.example/", "must start with"),
    ("mailto", "mailto:a@a.example", "must start with"),
    ("scheme-like-http", "httpx://a.example/", "must start with"),
    ("look-alike-scheme", "һttps://a.example/", "must be absolute"),
    ("fullwidth-colon", "https：//a.example/", "must be absolute"),
    ("relative", "a.example/path", "must be absolute"),
    ("host-and-port", "a.example:80/path", "must start with"),
    ("no-scheme", "//evil.example", "must be absolute"),
    ("byte-order-mark", "\ufeffhttps://a.example/", "must be absolute"),
    ("no-slashes", "https:evil.example", "exactly two slashes"),
    ("one-slash", "https:/evil.example", "exactly two slashes"),
    ("three-slashes", "https:///evil.example", "exactly two slashes"),
    ("scheme-only", "https:", "exactly two slashes"),
    ("slash-backslash", "https:/\\evil.example", "backslash"),
    ("backslashes", "https:\\\\evil.example", "backslash"),
    ("backslash-ends-host", "https://bank.example\\@evil.example", "backslash"),
    ("backslash-in-path", "https://a.example/\\evil.example", "backslash"),
    ("user-and-password", "https://user:pw@bank.example", "user name or password"),
    ("user-is-a-host", "https://bank.example@evil.example/", "user name or password"),
    ("empty-user", "https://@evil.example/", "user name or password"),
    ("fullwidth-at", "https://bank.example＠evil.example/", "U+0040"),
    ("carriage-return", "https://a.example/\r", "U+000D"),
    ("line-feed", "https://a.example/x\nSet-Cookie:x=1", "U+000A"),
    ("nul", "https://a.example/\x00", "U+0000"),
    ("delete", "https://a.example/\x7f", "U+007F"),
    ("c1-control", "https://a.example/\x85", "U+0085"),
    ("trailing-space", "https://a.example/ ", "at position 19"),
    ("no-break-space", "https://a.example/a\u00a0b", "U+00A0 (NO-BREAK SPACE)"),
    ("line-separator", "https://a.example/?q=\u2028", "U+2028"),
    ("ideographic-space", "https://a.example/#\u3000", "write %E3%80%80"),
    ("lone-surrogate", "https://a.example/\ud800", "half of a character, U+D800"),
    ("lone-surrogate-in-host", "https://a\udfff.example/", "U+DFFF"),
    ("no-host", "https://", "has no host"),
    ("no-host-but-query", "https://?x", "has no host"),
    ("no-host-but-port", "https://:80/", "has no host"),
    ("dot-host", "https://./", "empty label"),
    ("leading-dot", "https://.a.example", "empty label"),
    ("double-dot", "https://a..example", "empty label"),
    ("two-final-dots", "https://a.example../", "empty label"),
    ("ideographic-dots", "https://а。。example", "empty label"),
    ("long-label", f"https://{'a' * 64}.example", "64 characters between two dots"),
    ("long-host", f"https://{'a.' * 130}example", "at most 253"),
    ("long-international-host", f"https://{'ü' * 60}.example", "no valid international domain name"),
    ("huge-international-host", f"https://{'ü' * 3000}.example", "has a host of 3008 characters"),
    ("percent-in-host", "https://ev%69l.example/", "percent sign"),
    ("caret-in-host", "https://a^b.example/", "U+005E"),
    ("less-than-in-host", "https://a<b.example/", "U+003C"),
    ("semicolon-in-host", "https://a;b.example/", "U+003B"),
    ("slash-of-another-script", "https://bank.example／evil.example/", "U+002F"),
    ("division-slash", "https://bank.example∕evil.example/", "international"),
    ("account-of", "https://bank.℀.evil.example/", "U+002F"),
    ("right-to-left-override", "https://bank\u202eelpmaxe.example", "U+202E (RIGHT-TO-LEFT OVERRIDE)"),
    ("right-to-left-mark", "https://bank\u200f.example", "U+200F"),
    ("zero-width-space", "https://ba\u200bnk.example", "U+200B (ZERO WIDTH SPACE)"),
    ("zero-width-joiner", "https://ba\u200dnk.example", "U+200D"),
    ("word-joiner", "https://ba\u2060nk.example", "U+2060"),
    ("soft-hyphen", "https://ba\u00adnk.example", "U+00AD (SOFT HYPHEN)"),
    ("variation-selector", "https://ba\ufe0fnk.example", "U+FE0F"),
    ("hangul-filler", "https://ba\u3164nk.example", "U+3164"),
    ("tag-character", "https://ba\U000e0061nk.example", "U+E0061"),
    ("private-use", "https://ba\ue000nk.example", "U+E000"),
    ("punycode-of-nothing", "https://xn--/", "no valid punycode"),
    ("broken-punycode", "https://xn--a-ecp.example.xn--999999999", "no valid punycode"),
    ("punycode-of-ascii", "https://xn--bank-.example", "no valid punycode"),
    ("punycode-not-canonical", "https://xn---bbk.example", "no valid punycode"),
    ("punycode-of-invisible", "https://xn--bank-w76a.example", "no valid punycode"),
    ("punycode-of-emoji", "https://xn--i-7iq.example", "no valid punycode"),
    ("punycode-of-capital", "https://XN--MNCHEN-PSA.example", "no valid punycode"),
    ("port-0", "https://a.example:0/", "from 1 to 65535"),
    ("port-65536", "https://a.example:65536/", "from 1 to 65535"),
    ("port-huge", f"https://a.example:{'9' * 5000}/", "from 1 to 65535"),
    ("port-empty", "https://a.example:/", "no port after its host"),
    ("port-name", "https://a.example:http/", "from 1 to 65535"),
    ("port-signed", "https://a.example:+80/", "from 1 to 65535"),
    ("port-underscored", "https://a.example:8_0/", "from 1 to 65535"),
    ("port-in-other-digits", "https://a.example:８０/", "from 1 to 65535"),
    ("two-ports", "https://a.example:80:90/", "more than one colon"),
    ("ipv6-without-brackets", "https://2001:db8::1/", "in brackets"),
    ("ipv6-unclosed", "https://[::1/", "does not end with ']'"),
    ("ipv6-then-text", "https://[::1]x/", "after the ']'"),
    ("ipv6-zone", "https://[fe80::1%25eth0]/", "zone"),
    ("ipv6-nonsense", "https://[::g]/", "no valid IPv6 address"),
    ("ipv6-empty", "https://[]/", "no valid IPv6 address"),
    ("ip-of-the-future", "https://[v1.fe80::a]/", "no valid IPv6 address"),
    ("bracket-in-name", "https://a].example/", "bracket"),
    ("ipv4-too-large", "https://256.256.256.256/", "no IPv4 address"),
    ("ipv4-five-parts", "https://1.2.3.4.5/", "no IPv4 address"),
    ("ipv4-bad-octal", "https://1.2.3.08/", "no IPv4 address"),
    ("ipv4-overflow", "https://4294967296/", "no IPv4 address"),
    ("name-ending-in-number", "https://a.0x7/", "no IPv4 address"),
    ("ipv4-of-0x-alone", "https://0x/", "'0x' without digits"),
    ("ipv4-with-0X-within", "https://127.0X.0.1/", "'0x' without digits"),
    ("digit-beside-right-to-left", "https://1a.א.example/", "'1a', which cannot stand beside one that is written from"),
    ("underscore-beside-right-to-left", "https://_a.xn--4db/", "'_a', which cannot stand beside"),
    ("right-to-left-ends-in-latin", "https://xn--a-zhc.example/", "no valid punycode"),
]


@pytest.mark.parametrize(("url", "why"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(url: str, why: str) -> None:
    assert why in refusal(url)


KEPT = [
    ("plain", "https://a.example"),
    ("scheme-in-capitals", "HTTPS://a.example/"),
    ("host-in-capitals", "https://WWW.A.Example/Path"),
    ("final-dot", "https://a.example./"),
    ("port", "http://a.example:8080/x"),
    ("port-65535", "http://a.example:65535"),
    ("at-in-fragment", "https://evil.example#@bank.example"),
    ("at-in-path", "https://a.example/@user"),
    ("encoded-line-break", "https://a.example/%0d%0aSet-Cookie:x=1"),
    ("encoded-plus-and-at", "https://a.example/?e=a%2Bb%40c"),
    ("query-and-fragment", "https://a.example/?abc#f"),
    ("repeated-key", "https://a.example/?x=1&x=2"),
    ("encoded-controls", "https://a.example/?q=%24%0A"),
    ("encoded-dots", "https://a.example/%2e%2e/%2Fx"),
    ("dots", "https://a.example/../a/./b//c"),
    ("twice-encoded", "https://a.example/?q=%253D"),
    ("broken-percent", "https://a.example/%zz%"),
    ("query-without-path", "https://a.example?x=https://b.example/?y#z"),
    ("open-redirect-parameter", "https://a.example/?redir_url=https://evil.example"),
    ("backslash-in-query", "https://a.example/?q=a\\b"),
    ("backslash-in-fragment", "https://a.example/#a\\b"),
    ("markup", "https://a.example/<img src=x>".replace(" ", "%20")),
    ("brackets-in-query", "https://a.example/?a[]=1|2"),
    ("empty-query-and-fragment", "https://a.example/?#"),
    ("non-ascii-path", "https://a.example/straße/日本?q=ä#ö"),
    ("emoji-path", "https://a.example/👩\u200d💻"),
    ("underscore", "https://_dmarc.a_b.example/"),
    ("odd-hyphens", "https://r3---sn-x.a-.example/"),
    ("punycode", "https://xn--mnchen-3ya.de/"),
    ("punycode-in-capitals", "https://XN--Mnchen-3YA.de/"),
    ("ipv4", "https://192.0.32.10/"),
    ("ipv6", "https://[2606:2800:220:1:248:1893:25C8:1946]:443/"),
]


@pytest.mark.parametrize("url", [k[1] for k in KEPT], ids=[k[0] for k in KEPT])
def test_kept_byte_for_byte(url: str) -> None:
    assert INTAKE.destination(url).url == url
    # Other parsers find the same host, so what was checked here is what a visitor reaches.
    assert urlsplit(url).hostname == _host(url)
    assert httpx.URL(url).raw_host.decode().lower() == _host(url)


NORMALISED = [
    ("umlaut", "https://münchen.de", "https://xn--mnchen-3ya.de"),
    ("decomposed-umlaut", "https://mu\u0308nchen.de/ü", "https://xn--mnchen-3ya.de/ü"),
    ("capitals", "HTTPS://WWW.MÜNCHEN.DE:443/Ü?Ä#Ö", "HTTPS://www.xn--mnchen-3ya.de:443/Ü?Ä#Ö"),
    ("sharp-s", "https://straße.de/", "https://xn--strae-oqa.de/"),
    ("fullwidth", "https://ｅvil.example/ｅ", "https://evil.example/ｅ"),
    ("ideographic-dots", "https://a。example．/", "https://a.example./"),
    ("host-again-in-path", "https://日本.jp/日本.jp", "https://xn--wgv71a.jp/日本.jp"),
    ("underscore-beside-umlaut", "https://_a.münchen.de/", "https://_a.xn--mnchen-3ya.de/"),
    ("circled-digits", "https://①②⑦.⓪.⓪.①/", "https://127.0.0.1/"),
    ("compatibility-letters", "https://ﬁrst.example/", "https://first.example/"),
]


@pytest.mark.parametrize(("url", "stored"), [n[1:] for n in NORMALISED], ids=[n[0] for n in NORMALISED])
def test_host_in_other_scripts_is_stored_in_ascii(url: str, stored: str) -> None:
    destination = INTAKE.destination(url)
    assert destination.url == stored
    assert INTAKE.destination(stored) == destination


FLAGGED = [
    ("plain", "https://a.example/", set()),
    ("umlaut", "https://münchen.de/", {Flag.INTERNATIONAL_HOST}),
    ("umlaut-as-punycode", "https://xn--mnchen-3ya.de/", {Flag.INTERNATIONAL_HOST}),
    ("fullwidth-is-plain", "https://ｅvil.example/", set()),
    ("cyrillic-a", "https://аpple.com", {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT, Flag.CONFUSABLE}),
    (
        "cyrillic-a-as-punycode",
        "https://xn--pple-43d.com",
        {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT, Flag.CONFUSABLE},
    ),
    ("punycode-in-capitals", "https://XN--PPLE-43D.com", {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT, Flag.CONFUSABLE}),
    (
        "in-a-subdomain",
        "https://gооgle.com.evil.example",
        {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT, Flag.CONFUSABLE},
    ),
    ("all-cyrillic-look-alike", "https://аррӏе.com", {Flag.INTERNATIONAL_HOST, Flag.CONFUSABLE}),
    ("cyrillic-with-accent", "https://ѐѵа.com", {Flag.INTERNATIONAL_HOST, Flag.CONFUSABLE}),
    ("greek-look-alike", "https://ονρα.com", {Flag.INTERNATIONAL_HOST, Flag.CONFUSABLE}),
    ("armenian-look-alike", "https://աօո.com", {Flag.INTERNATIONAL_HOST, Flag.CONFUSABLE}),
    ("cherokee-look-alike", "https://ᏢᎪᎩ.com", {Flag.INTERNATIONAL_HOST, Flag.CONFUSABLE}),
    ("latin-small-capital", "https://ɢoogle.com", {Flag.INTERNATIONAL_HOST, Flag.CONFUSABLE}),
    ("russian", "https://москва.рф/", {Flag.INTERNATIONAL_HOST}),
    ("greek", "https://ελλάδα.gr/", {Flag.INTERNATIONAL_HOST}),
    ("russian-and-latin-mixed", "https://москваgo.com/", {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT}),
    ("scripts-in-different-labels", "https://shop.москва.com/", {Flag.INTERNATIONAL_HOST}),
    ("japanese-with-latin", "https://jリーグの日本語々.jp/", {Flag.INTERNATIONAL_HOST}),
    ("korean-with-latin", "https://kt한국漢.kr/", {Flag.INTERNATIONAL_HOST}),
    ("chinese-with-latin", "https://ok中文ㄅ.tw/", {Flag.INTERNATIONAL_HOST}),
    ("korean-with-kana", "https://한국の.kr/", {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT}),
    ("japanese-with-cyrillic", "https://日本ж.jp/", {Flag.INTERNATIONAL_HOST, Flag.MIXED_SCRIPT}),
    ("arabic-with-its-digits", "https://موقع١٢.com/", {Flag.INTERNATIONAL_HOST}),
    ("hindi", "https://हिन्दी.com/", {Flag.INTERNATIONAL_HOST}),
    ("hebrew-beside-latin", "https://www.אתר.example/", {Flag.INTERNATIONAL_HOST}),
    ("hebrew-with-digit", "https://אתר1.co2/", {Flag.INTERNATIONAL_HOST}),
    ("catalan", "https://col·lecció.cat/", {Flag.INTERNATIONAL_HOST}),
    ("shortener", "https://bit.ly/x", {Flag.SHORTENER}),
    ("shortener-otherwise-spelled", "https://WWW.TinyURL.com.:443/x", {Flag.SHORTENER}),
    ("no-shortener", "https://rabbit.ly/x", set()),
    ("no-shortener-either", "https://t.co.example/x", set()),
    ("localhost", "http://localhost:3000", {Flag.PRIVATE_HOST}),
    ("localhost-final-dot", "http://LOCALHOST./", {Flag.PRIVATE_HOST}),
    ("under-localhost", "http://app.localhost/", {Flag.PRIVATE_HOST}),
    ("intranet", "http://wiki/page", {Flag.PRIVATE_HOST}),
    ("metadata", "http://metadata.google.internal/", {Flag.PRIVATE_HOST}),
    ("local", "http://printer.local/", {Flag.PRIVATE_HOST}),
    ("home-arpa", "http://nas.home.arpa/", {Flag.PRIVATE_HOST}),
    ("public-arpa", "http://www.arpa.example/", set()),
    ("public-ipv4", "http://8.8.8.8/", {Flag.IP_ADDRESS}),
    ("public-ipv6", "http://[2606:4700:4700::1111]/", {Flag.IP_ADDRESS}),
    ("public-nat64", "http://[64:ff9b::808:808]/", {Flag.IP_ADDRESS}),
    ("public-6to4", "http://[2002:808:808::]/", {Flag.IP_ADDRESS}),
    ("public-mapped", "http://[::ffff:8.8.8.8]/", {Flag.IP_ADDRESS}),
    ("public-ipv4-as-number", "http://134744072/", {Flag.IP_ADDRESS}),
]


@pytest.mark.parametrize(("url", "expected"), [f[1:] for f in FLAGGED], ids=[f[0] for f in FLAGGED])
def test_flags(url: str, expected: set[Flag]) -> None:
    assert flags(url) == expected


PRIVATE_ADDRESSES = [
    "127.0.0.1", "127.1", "2130706433", "0x7f.1", "0X7F.0.0.0x1", "0177.0.0.1", "0", "0x0", "0.0.0.0", "127.0.0.1.",  # noqa: S104
    "１２７.0.0.1", "169.254.169.254", "100.64.0.1", "100.127.255.255", "10.1.2.3", "172.16.0.1", "172.31.255.255",
    "192.168.1.1", "192.168.257", "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "0xffffffff",
    "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b::10.0.0.1]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a00:1::]", "[fe80::1]", "[fc00::1]", "[fd12::1]",
    "[ff02::1]", "[2001:db8::1]", "[2001::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", PRIVATE_ADDRESSES)
def test_private_address_in_any_notation(host: str) -> None:
    url = f"http://{host}/"
    assert flags(url) == {Flag.IP_ADDRESS, Flag.PRIVATE_HOST}
    assert "not on the public internet" in refusal(url, PUBLIC_ONLY)


@pytest.mark.parametrize("host", ["172.15.0.1", "172.32.0.1", "100.63.0.1", "11.0.0.1", "192.167.1.1", "223.1.1.1"])
def test_neighbours_of_private_blocks_are_public(host: str) -> None:
    assert PUBLIC_ONLY.destination(f"http://{host}/").flags == (Flag.IP_ADDRESS,)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost.", "wiki", "metadata.google.internal", "a.b.localhost", "ｗiki"]
)
def test_private_names_follow_the_switch(host: str) -> None:
    url = f"http://{host}/"
    assert flags(url) == {Flag.PRIVATE_HOST}
    assert "not on the public internet" in refusal(url, PUBLIC_ONLY)


OWN = [
    ("plain", "https://go.waypost.example/abc"),
    ("no-path", "https://go.waypost.example"),
    ("other-scheme", "http://go.waypost.example/abc"),
    ("capitals", "https://GO.Waypost.EXAMPLE/abc"),
    ("final-dot", "https://go.waypost.example./abc"),
    ("port", "https://go.waypost.example:8443/abc"),
    ("all-at-once", "https://GO.waypost.example.:443?x"),
    ("fullwidth", "https://ｇｏ.waypost.example/abc"),
    ("ideographic-dot", "https://go。waypost。example/abc"),
    ("international", "https://münchen.waypost.example/"),
    ("international-capitals", "https://MÜNCHEN.waypost.example/"),
    ("punycode-capitals", "https://XN--MNCHEN-3YA.waypost.example/"),
    ("address", "http://192.0.2.9/"),
    ("address-as-number", "http://3221225993/"),
    ("address-in-octal", "http://0300.0.0x2.9:8080/"),
    ("address-mapped", "http://[::ffff:192.0.2.9]/"),
    ("ipv6", "http://[0:0::0009]:1/"),
]


@pytest.mark.parametrize("url", [o[1] for o in OWN], ids=[o[0] for o in OWN])
def test_own_host_is_refused_in_every_notation(url: str) -> None:
    assert "this service's own host" in refusal(url)


def test_own_host_behind_user_info_is_refused_too() -> None:
    assert refusal("https://x@go.waypost.example/")


@pytest.mark.parametrize("url", ["https://waypost.example/", "https://x.go.waypost.example/", "http://192.0.2.8/"])
def test_neighbours_of_the_own_host_are_not_refused(url: str) -> None:
    assert INTAKE.destination(url).url == url


def test_own_host_may_be_given_in_its_own_script() -> None:
    assert refusal("https://xn--mnchen-3ya.de/", Intake(["München.de."]))


def test_bad_own_host_is_an_error() -> None:
    with pytest.raises(BadHost):
        Intake(["a b"])


def _padded(size: int, filler: str = "a") -> str:
    start = "https://a.example/"
    count, rest = divmod(size - len(start), len(filler.encode()))
    return start + filler * count + "a" * rest


@pytest.mark.parametrize("size", [2048, 8192])
@pytest.mark.parametrize("filler", ["a", "ä", "日", "👩"])
def test_url_up_to_the_limit_is_taken(size: int, filler: str) -> None:
    url = _padded(size, filler)
    assert len(url.encode()) == size
    assert INTAKE.destination(url).url == url


@pytest.mark.parametrize("size", [8193, 32_001, 1_000_000])
@pytest.mark.parametrize("filler", ["a", "日"])
def test_url_over_the_limit_is_refused_with_both_numbers(size: int, filler: str) -> None:
    sentence = refusal(_padded(size, filler))
    assert f"{size:,} bytes" in sentence
    assert "at most 8,192" in sentence


def test_limit_is_configurable() -> None:
    intake = Intake([], max_url_bytes=20)
    assert intake.destination(_padded(20))
    assert "21 bytes; at most 20" in refusal(_padded(21), intake)


def test_limit_holds_for_what_is_stored() -> None:
    given = "https://münchen.de/"
    assert "26 bytes; at most 25" in refusal(given, Intake([], max_url_bytes=25))
    assert Intake([], max_url_bytes=26).destination(given)


@pytest.mark.parametrize(
    ("url", "header"),
    [
        ("https://a.example/%0d%0a%253D?x=1&x=2#%zz", "https://a.example/%0d%0a%253D?x=1&x=2#%zz"),
        ("https://a.example/?q=\"<>\\^`{|}[]'", "https://a.example/?q=\"<>\\^`{|}[]'"),
        ("https://a.example/ä%C3%A4", "https://a.example/%C3%A4%C3%A4"),
        ("https://a.example/日?q=👩#ö", "https://a.example/%E6%97%A5?q=%F0%9F%91%A9#%C3%B6"),
    ],
    ids=["ascii", "odd-ascii", "mixed", "all-parts"],
)
def test_location(url: str, header: str) -> None:
    assert location(url) == header


@pytest.mark.parametrize("char", ["\r", "\n", "\0", " ", "\t", "\x7f", "\x85"])
def test_location_cannot_end_a_header_line_whatever_it_is_given(char: str) -> None:
    assert re.fullmatch("[!-~]+", location(f"https://a.example/{char}x"))


def _host(url: str) -> str:
    """The host as RFC 3986 appendix B finds it, in lower case and without brackets."""
    match = re.fullmatch(r"[^:/?#]+://([^/?#]*)[^?#]*(?:\?[^#]*)?(?:#.*)?", url, re.DOTALL)
    assert match is not None
    return re.sub(r":[0-9]*$", "", match.group(1)).strip("[]").lower()


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "a.localhost",
        "localhost.localdomain",
        "127.0.0.2",
        "0.0.0.0",  # noqa: S104 - one of its names
        "0",
        "[::1]",
        "[::]",
    ],
)
def test_a_waypost_on_this_machine_is_reached_by_any_of_its_names(host: str) -> None:
    for own in ("127.0.0.1", "localhost", "::1"):
        with pytest.raises(InvalidFields):
            Intake([own]).destination(f"http://{host}:9999/x")
    # Elsewhere it is a private host like any other.
    assert Flag.PRIVATE_HOST in Intake(["go.example.com"]).destination(f"http://{host}:9999/x").flags
