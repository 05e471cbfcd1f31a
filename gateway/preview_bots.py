"""Who asks for a link without following it: robots that draw previews or read the web, and browsers that fetch ahead.

Only links with a number of clicks ask this. In doubt a visitor is a robot: who is taken for one is told to open the
link in a browser, but a click that a robot takes is lost. Browsers inside of apps, which have the app's name (`Line/`,
`FBAN`, `Instagram`, `Snapchat`, `MicroMessenger`), are people. Robots that call themselves browsers pass for people.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_LOOKED_AT = 1024
"""Bytes of a header's value; robots name themselves within the first 300."""

# In lower case, as all below. Robots' own conventions: the address of a page about them, or a name that says it all.
# Cubot makes telephones.
_CONVENTIONS = re.compile(
    rb"\+https?://"
    rb"|(?:(?<!\bcu)bot|crawler|spider|scraper|fetcher)\b"
    rb"|(?:link|url|uri|web|page|bing|microsoft)[ -]?preview"
)

_NAMES = (
    # Facebook, Instagram, Threads, Messenger. Messages on Apple's devices calls itself facebookexternalhit, Facebot and
    # Twitterbot at once; LINE and KakaoTalk the first of these.
    b"facebookexternalhit",
    b"facebookcatalog",
    b"meta-external",
    b"whatsapp",  # and Signal, which goes by that name for the sake of sites that make an exception for it
    b"twitterbot",
    b"linkedinbot",
    b"telegrambot",
    b"discordbot",
    b"slackbot",
    b"slack-imgproxy",
    b"skypeuripreview",  # Teams too
    b"ms-office",  # Word, Excel, Outlook: they follow a link themselves before they give it to the browser
    b"msoffice",
    b"microsoft office",
    b"rocket.chat",
    b"steamchaturllookup",
    b"discourse forum onebox",
    b"kakaotalk-scrap",
    b"google-pagerenderer",
    b"google-read-aloud",
    b"googleimageproxy",
    b"yahoomailproxy",
    b"mastodon/",
    b"pleroma",
    b"akkoma",
    b"misskey",
    b"lemmy/",
    b"friendica",
    b"bluesky",
    b"hatena",
    b"vkshare",
    b"vkrobot",
    b"xing-contenttabreceiver",
    b"flipboardproxy",
    b"embedly",
    b"iframely",
    b"opengraph",
    b"googleother",
    b"google-safety",
    b"mediapartners",
    b"slurp",
    b"chatgpt-user",
    b"claude-user",
    b"perplexity-user",
    b"ia_archiver",
    b"headlesschrome",
)

# Browsers inside of these apps have the names too, but not first.
_BEGINNINGS = (b"viber", b"tumblr/", b"synapse", b"notion/", b"asana/")

# What browsers say when nobody has clicked yet: the standard, older Chrome, Safari for its top sites, older Firefox.
_PURPOSES = frozenset({b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"})
_SPECULATIVE = re.compile(rb"\b(?:prefetch|prerender|preview|instant)\b")

Headers = Iterable[tuple[bytes, bytes]]
"""As in an ASGI scope: names in lower case."""


def is_preview_bot(headers: Headers) -> bool:
    """Whether the `User-Agent` is that of a robot."""
    return any(name == b"user-agent" and _is_robot(value[:_LOOKED_AT].lower()) for name, value in headers)


def is_speculative(headers: Headers) -> bool:
    """Whether a browser fetches ahead, in case its user clicks later."""
    return any(
        name in _PURPOSES and _SPECULATIVE.search(value[:_LOOKED_AT].lower()) is not None for name, value in headers
    )


def _is_robot(user_agent: bytes) -> bool:
    return (
        user_agent.startswith(_BEGINNINGS)
        or any(name in user_agent for name in _NAMES)
        or _CONVENTIONS.search(user_agent) is not None
    )
