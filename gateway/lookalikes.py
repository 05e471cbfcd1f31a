"""Labels that deceive the eye: scripts mixed in one label, and letters of other scripts that read like Latin ones."""

from __future__ import annotations

import unicodedata

# What UTS #39 section 5.2 calls highly restrictive: one script, or one of these mixtures, which people really write.
_HABITUAL_MIXTURES = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)

# The first word of a letter's Unicode name is its script, but for these. None: common to several scripts.
_SCRIPT_OF_WORD = {
    "CJK": "HAN",
    "IDEOGRAPHIC": "HAN",
    "ARABIC-INDIC": "ARABIC",
    "EXTENDED": "ARABIC",
    "KATAKANA-HIRAGANA": None,
    "COMBINING": None,
    "MODIFIER": None,
}

# From confusables.txt of UTS #39: letters that are allowed in host names and look like a Latin one in most typefaces.
# In order: Cyrillic, Greek, Armenian, Cherokee, Lisu, then Latin letters that no alphabet in common use has.
_LOOKALIKES = {
    "a": "аαᎪꓮɑᴀ",
    "b": "ᏏᏴꓐʙ",
    "c": "сᏟꓚᴄ",
    "d": "ԁᎠᏧꓒꓓᴅ",
    "e": "еҽᎬꓰᴇ",
    "f": "քꓝꜰ",
    "g": "ցᏀᏻᏳꓖɡɢ",
    "h": "һհᎻᏂꓧʜ",
    "i": "іӏꙇιᎥꓲɪ",
    "j": "јϳᎫꓙᴊ",
    "k": "Ꮶꓗᴋ",
    "l": "Ꮮꓡʟ",
    "m": "Ꮇꓟᴍ",
    "n": "ոռꓠɴ",
    "o": "оοσօꓳᴏ",
    "p": "рρᏢꓑᴘ",
    "q": "ԛգզ",
    "r": "гᎡᏒꓣʀᴦ",
    "s": "ѕᏕᏚꓢꜱ",
    "t": "Ꭲꓔᴛ",
    "u": "υսꓴᴜ",
    "v": "ѵνᏙꓦᴠ",
    "w": "ԝѡաᎳᏔꓪᴡ",
    "x": "хꓫ",
    "y": "уүγᎩᎽꓬʏ",
    "z": "Ꮓꓜᴢ",
}
_LATIN_OF = {other: latin for latin, others in _LOOKALIKES.items() for other in others}


def mixes_scripts(label: str) -> bool:
    """Whether a decoded, lower-case label mixes scripts in a way that no language's writing does."""
    scripts = {script for char in label if (script := _script(char)) is not None}
    return len(scripts) > 1 and not any(scripts <= mixture for mixture in _HABITUAL_MIXTURES)


def reads_as_latin(label: str) -> bool:
    """Whether a decoded, lower-case label has letters that pass for Latin ones, and then reads as Latin throughout."""
    # Taken apart, so that `ѐ` is seen as the `е` it is drawn from.
    letters = [char for char in unicodedata.normalize("NFD", label) if not unicodedata.combining(char)]
    skeleton = [_LATIN_OF.get(char, char) for char in letters]
    return skeleton != letters and all(_script(char) in (None, "LATIN") for char in skeleton)


def _script(char: str) -> str | None:
    """The script of a character by its Unicode name, which agrees with its Script property wherever it matters here."""
    if char.isascii():
        return "LATIN" if char.isalpha() else None
    if unicodedata.category(char)[0] not in "LMN":
        return None
    word = unicodedata.name(char, "UNKNOWN").split(" ", 1)[0]
    return _SCRIPT_OF_WORD.get(word, word)
