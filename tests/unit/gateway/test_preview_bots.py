"""Who is a robot that draws previews, and who is a person with an odd browser."""

from __future__ import annotations

import time

import pytest

from gateway.preview_bots import is_preview_bot, is_speculative

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_11_1) AppleWebKit/601.2.4 (KHTML, like Gecko) Version/9.0.1"
CHROME = "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko)"
ANDROID = "Mozilla/5.0 (Linux; Android 14; Pixel 8 Build/UD1A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0"

ROBOTS = [
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
    "facebookexternalhit/1.1",
    "Facebot/1.0",
    "meta-externalagent/1.1",
    f"{MAC} facebookexternalhit/1.1 Facebot Twitterbot/1.0",  # Messages on Apple's devices
    "facebookexternalhit/1.1;line-poker/1.0",
    "facebookexternalhit/1.1; kakaotalk-scrap/1.0; +https://devtalk.kakao.com/t/scrap/33984",
    "Twitterbot/1.0",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Slackbot 1.0",
    "Slack-ImgProxy",
    "Mozilla/5.0 (compatible; Discordbot/2.0; +https://discordapp.com)",
    "TelegramBot (like TwitterBot)",
    "WhatsApp/2.23.20.0 A",
    "WhatsApp/2",  # also Signal
    "LinkedInBot/1.0 (compatible; Mozilla/5.0; Apache-HttpClient +http://www.linkedin.com)",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) SkypeUriPreview Preview/0.5 skype-url-preview@microsoft.com",
    "Mozilla/5.0 (compatible; Microsoft-URL-Preview/1.0)",
    f"Mozilla/5.0 {CHROME.replace('Gecko)', 'Gecko; compatible; MicrosoftPreview/2.0)')}",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/534+ (KHTML, like Gecko) BingPreview/1.0b",
    "TeamsBot/1.0",
    "Mozilla/4.0 (compatible; ms-office; MSOffice 16)",
    "Microsoft Office Word 2014 (16.0.4266) Windows NT 10.0",
    "Viber",
    "Viber/13.3.0.0 CFNetwork/1128.0.1",
    "Mozilla/5.0 (compatible; Linespider/1.1; +https://lin.ee/4dwXkTH)",
    "Snap URL Preview Service; bot; snapchat; https://developers.snap.com/robots",
    "http.rb/5.1.1 (Mastodon/4.2.1; +https://mastodon.example/)",
    "Mastodon/4.3.0 (http.rb/5.2.0)",
    "Pleroma 2.5.0; https://pleroma.example <admin@pleroma.example>",
    "SummalyBot/5.1.0",
    "Lemmy/0.19.8",
    "Mozilla/5.0 (compatible; Bluesky Cardyb/1.1; +mailto:support@bsky.app)",
    "Synapse (bot; +https://github.com/matrix-org/synapse)",
    "Synapse/1.95.0",
    "Mattermost-Bot/1.1",
    "Rocket.Chat/6.0",
    "KeybaseBot",
    "Mozilla/5.0 (compatible; Pinterestbot/1.0; +http://www.pinterest.com/bot.html)",
    "Mozilla/5.0 (compatible; redditbot/1.0)",
    "Mozilla/5.0 (compatible; vkShare; +http://vk.com/dev/Share)",
    "OdklBot/1.0 (share@odnoklassniki.ru)",
    "Embedly +support@embed.ly",
    "Iframely/1.3.1",
    f"Mozilla/5.0 (X11; Linux x86_64) {CHROME} Google-PageRenderer Google (+https://developers.google.com/+/web/snippet/)",
    "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
    "Discourse Forum Onebox v3.3.0.beta1-dev",
    "Valve/Steam HTTP Client 1.0 (SteamChatURLLookup)",
    "Notion/1.0",
    "Tumblr/14.0.835.186",
    f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
    f"{MAC} (Applebot/0.1)",
    "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)",
    "Mozilla/5.0 (compatible; Baiduspider/2.0)",
    "DuckDuckBot/1.1",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.0)",
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; ChatGPT-User/1.0; +https://openai.com/bot)",
    "GoogleOther",
    "SomeNewCrawler/0.1",
    "anything (+https://robots.example/about)",
]

PEOPLE = [
    "",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME}",
    f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {CHROME} Edg/126.0.0.0",
    "Mozilla/5.0 (X11; Linux x86_64; rv:127.0) Gecko/20100101 Firefox/127.0",
    f"{IPHONE} Version/17.5 Mobile/15E148 Safari/604.1",
    f"{IPHONE} Mobile/15E148 [FBAN/FBIOS;FBAV/465.0.1.41.103;FBDV/iPhone15,3;FBLC/en_US;FBOP/5]",
    f"{IPHONE} Mobile/15E148 Instagram 334.0.4.32.98 (iPhone15,3; iOS 17_5_1; en_US)",
    f"{IPHONE} Mobile/15E148 Snapchat/12.89.0.39 (like Safari/8617.2.4.10.8, panda)",
    f"{IPHONE} Mobile/15E148 MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/en",
    f"{IPHONE} Mobile/15E148 Safari Line/14.8.1",
    f"{IPHONE} Mobile/15E148 [LinkedInApp]/9.29.9325",
    f"{IPHONE} Mobile/15E148 [Pinterest/iOS]",
    f"{IPHONE} Mobile/15E148 Twitter for iPhone/10.46",
    f"{ANDROID} Chrome/126.0.0.0 Mobile Safari/537.36 Viber/22.5.0",
    f"{ANDROID} Chrome/126.0.0.0 Mobile Safari/537.36 Telegram-Android/10.14.5 (Google Pixel 8; Android 14; SDK 34)",
    f"{ANDROID} Chrome/126.0.0.0 Mobile Safari/537.36 GSA/15.24.28",
    f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {CHROME} Slack_SSB/4.38.125",
    f"Mozilla/5.0 (Windows NT 10.0; WOW64) {CHROME} Teams/1.7.00.15969 Electron/19.1.8",
    f"Mozilla/5.0 (Windows NT 10.0; WOW64) {CHROME} discord/1.0.9037",
    f"Mozilla/5.0 (Linux; Android 9; CUBOT_X19 Build/PPR1.180610.011) {CHROME}",
    f"Mozilla/5.0 (Linux; Android 9; CUBOT) {CHROME}",
    f"Mozilla/5.0 (Linux; Android 10; CUBOT/X30) {CHROME}",
    "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)",
    "Mozilla/5.0 (compatible; Konqueror/4.5; FreeBSD) KHTML/4.5.4 (like Gecko)",
    "Opera/9.80 (X11; Linux i686) Presto/2.12.388 Version/12.16",
    "curl/8.5.0",
    "Wget/1.21.4",
    "python-requests/2.32.3",
]


def headers(*fields: tuple[str, str]) -> list[tuple[bytes, bytes]]:
    """As in an ASGI scope."""
    return [(b"host", b"go.example"), *((name.encode(), value.encode()) for name, value in fields)]


@pytest.mark.parametrize("user_agent", ROBOTS)
def test_robots_are_known_in_any_letters_case(user_agent: str) -> None:
    assert is_preview_bot(headers(("user-agent", user_agent)))
    assert is_preview_bot(headers(("user-agent", user_agent.lower())))
    assert is_preview_bot(headers(("user-agent", user_agent.upper())))


@pytest.mark.parametrize("user_agent", PEOPLE)
def test_people_are_not_taken_for_robots(user_agent: str) -> None:
    assert not is_preview_bot(headers(("user-agent", user_agent)))


def test_only_the_user_agent_counts() -> None:
    assert not is_preview_bot(headers())
    assert not is_preview_bot(headers(("referer", "Twitterbot/1.0"), ("accept", "Googlebot/2.1")))


@pytest.mark.parametrize("filler", ["x", "bo", "page ", "cubot ", "+http:/", "compatible;", " "])
def test_a_long_user_agent_is_looked_at_in_part(filler: str) -> None:
    long = filler * (100_000 // len(filler))
    took = []
    for _ in range(3):
        began = time.process_time()
        assert not is_preview_bot(headers(("user-agent", f"{long} Twitterbot/1.0")))
        took.append(time.process_time() - began)
    assert min(took) < 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("sec-purpose", "Prefetch"),
        ("purpose", "prefetch"),
        ("x-purpose", "preview"),
        ("x-purpose", "instant"),
        ("x-moz", "prefetch"),
    ],
)
def test_fetching_ahead_is_known(name: str, value: str) -> None:
    assert is_speculative(headers((name, value)))


@pytest.mark.parametrize(
    "fields",
    [(), (("sec-purpose", ""),), (("sec-purpose", "no"),), (("sec-fetch-dest", "prefetch"),), (("purpose", "buy"),)],
)
def test_a_click_is_none_of_it(fields: tuple[tuple[str, str], ...]) -> None:
    assert not is_speculative(headers(*fields))
