"""Ways to say where a Waypost is, for whoever takes them."""

from __future__ import annotations

from waypost.client.channel import Server

FORMS = [
    ("127.0.0.1:8080", Server("127.0.0.1:8080")),
    ("go.example.com:443", Server("go.example.com:443")),
    ("[::1]:8080", Server("[::1]:8080")),
    ("http://go.example.com", Server("go.example.com:80")),
    ("http://go.example.com:8080/", Server("go.example.com:8080")),
    ("https://go.example.com", Server("go.example.com:443", tls=True)),
    ("HTTPS://[2001:db8::1]:8443", Server("[2001:db8::1]:8443", tls=True)),
]
