"""What the services and the edge must read and write alike: texts of errors, and `Accept` headers."""

from __future__ import annotations

from waypost.rpc.problem import PROBLEM_TYPE

NASTY = [
    'a "quote", a \\ backslash, a \\" pair and a last \\',
    '"code":7,"message":"other","reason":"ERROR_REASON_OTHER"',
    '{"code":3,"message":"',
    "new\nline, tab\t, bell\a, nul\0, del\x7f",
    "</script><b>&amp;",
    "é ß 中文 \N{LINK SYMBOL} \u2028 \u2029 \ufeff",
    "x" * 900,
    "]}" * 100,
]
"""Messages that are easily broken, or break what they stand in."""

ASKING = [
    PROBLEM_TYPE,
    "Application/Problem+JSON",
    "application/problem+json, application/json",
    "application/json, application/problem+json",
    "text/html,application/problem+json;q=0.1",
    "application/problem+json;q=0.001",
    "application/problem+json ; q=1.000 , */*;q=0",
    "application/problem+json;charset=utf-8",
    "application/problem+json; charset=utf-8 ;q=.5",
    ", application/problem+json",
    "application/problem+json;",
    "application/problem+json;q=0,application/problem+json",
]
"""`Accept` headers that ask for errors as problems of RFC 9457."""

NOT_ASKING = [
    "",
    "*/*",
    "application/*",
    "application/json, */*",
    "application/problem+xml",
    "application/problem+jsonx",
    "xapplication/problem+json",
    "application/problem+json;q=0",
    "application/problem+json;q=0.000",
    "application/problem+json; q=0",
    "application/problem+json ;  q=0.0, */*",
    "application/problem+json;charset=utf-8;q=0",
    "application/problem+json;q=",
    "application/problem+json;q=much",
    "application/problem+json;q=-1",
    "text/html;also=application/problem+json",
]
"""Those that do not."""
