"""Words that no short code may be: names the service needs for itself, and words nobody wants to send around."""

from __future__ import annotations

import re
from collections.abc import Iterator


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


RESERVED = _words(
    """
    .well-known about abuse account accounts admin administrator analytics api apis app apple-app-site-association apps
    assessment assets auth authorize billing blog bulk callback cdn cgi-bin config console contact cookies create css
    dashboard debug delete dev docs download edit error errors explore export faq favicon favicon.ico feed gateway
    graphql grpc health healthz help home host hostmaster humans.txt icons images img import index index.html info
    internal invite js jwks legal link links livez localhost login logout mail manifest manifest.json media metrics new
    news null oauth oauth2 official oidc openapi openapi.json openapi.yaml password passwords ping postmaster preview
    pricing privacy profile public qr ratelimit ready readyz redirect redoc register report reset robots robots.txt root
    saml search security security.txt server-status service-worker.js session settings shorten signin signout signup
    sitemap sitemap.xml sso staging static statistics stats status subscribe superuser support sw.js swagger swagger-ui
    sys system team terms token tokens tos trace undefined unsubscribe urls user userinfo users v1 v2 verify version
    waypost webhook webhooks webmaster well-known wp-admin ws www
    """
)
"""Paths the service serves, will serve, or must not seem to serve; in lower case."""

# Refused wherever they stand in an alias: no common word, name or place contains them. The `s` keeps "snigger" usable.
_ANYWHERE = _words(
    r"""
    arschloch arsehole asshole blowjob bukkake bullshit caralho childporn cocksuck dickhead faggot fotze fuck gangbang
    handjob heilhitler hurensohn jizz klootzak mierda motherf nigga (?<!s)nigger pendejo pizda puttana scheisse siegheil
    stronzo vaffanculo wetback whitepower wichser
    """
)

# Refused as a whole word of an alias only: Scunthorpe, cocktail, therapist, Matsushita and analysis contain them.
_WHOLE = _words(
    """
    anal anus arse ass asses bitch bitches blyad blyat bollocks boobs chuj clit cock cocks connard cum cunt cunts
    dildo encule enculer fag fags fck fuk goatfucker jerkoff kikes kkk kurwa merde milf nazi nazis paedo paki pakis
    pedo penis phuck piss porn porno porra pussies pussy puta putain putas puto queef rapist salope shit shithead shits
    shitshow shitty slut sluts spics tits titties titty trannies tranny turd twat twats vagina wank wanker wankers whore
    whores
    """
)

# Refused in random codes besides all of the above, wherever they stand: another draw costs nothing.
_IN_CODES = _words(
    "chink coon cooch dick dyke fuc gook hitler homo isis jew kike negro nig rape retard sex spic suck tit"
)

_ANYWHERE_PATTERN = re.compile("|".join(sorted(_ANYWHERE)))
_CODE_PATTERN = re.compile("|".join(sorted(_ANYWHERE | _WHOLE | _IN_CODES)))
# A 1 stands for i or for l.
_DIGITS_AS_LETTERS = tuple(str.maketrans("01345789", f"o{one}eastbg") for one in "il")


def is_reserved(text: str) -> bool:
    """Whether the text is a reserved word, in whatever case."""
    return text.lower() in RESERVED


def is_offensive_code(code: str) -> bool:
    """Whether a random code contains a profane word, also one with digits for letters. Errs on the safe side."""
    return any(_CODE_PATTERN.search(reading) for reading in _readings(code))


def is_offensive_alias(alias: str) -> bool:
    """Whether an alias says a profane word, also with digits for letters or its letters set apart (`f-u-c-k`).

    Most words count only where they stand alone, so that names of places and people which contain them pass.
    """
    words = _set_together(re.split("[-_]+", alias.lower()))
    if any(_ANYWHERE_PATTERN.search(reading) for word in words for reading in _readings(word)):
        return True
    return any(reading in _WHOLE for word in words for reading in _word_readings(word))


def _readings(text: str) -> Iterator[str]:
    lower = text.lower()
    yield lower
    for table in _DIGITS_AS_LETTERS:
        yield lower.translate(table)


def _word_readings(word: str) -> Iterator[str]:
    yield word.strip("0123456789")
    # In `a55` or `455` the digits are a number; in `sh1t` they are letters.
    letters = sum(char.isalpha() for char in word)
    if letters * 2 >= len(word):
        yield from _readings(word)


def _set_together(pieces: list[str]) -> list[str]:
    """The pieces, runs of single characters among them joined to one."""
    words: list[str] = []
    run = ""
    for piece in [*pieces, ""]:
        if len(piece) == 1:
            run += piece
            continue
        words += [word for word in (run, piece) if word]
        run = ""
    return words
