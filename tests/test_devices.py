import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_redis_sessions.devices import KEY, LONGEST_AGENT, UNKNOWN, Device, described, device_in, masked

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"
SAFARI = "AppleWebKit/605.1.15 (KHTML, like Gecko)"

#: What most people's browsers say.
COMMON_AGENTS = {
    "Chrome on Windows": f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/147.0.0.0 Safari/537.36",
    "Chrome on macOS": (
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/147.0.0.0 Safari/537.36"
    ),
    "Chrome on Linux": f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/147.0.0.0 Safari/537.36",
    "Chrome on Android": f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/147.0.0.0 Mobile Safari/537.36",
    "Edge on Windows": (
        f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/147.0.0.0 Safari/537.36 Edg/147.0.0.0"
    ),
    "Firefox on Windows": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:146.0) Gecko/20100101 Firefox/146.0",
    "Firefox on macOS": (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:146.0) Gecko/20100101 Firefox/146.0"
    ),
    "Firefox on Linux": "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0",
    "Safari on macOS": (
        f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {SAFARI} Version/26.1 Safari/605.1.15"
    ),
    "Safari on iPhone": (
        f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) {SAFARI}"
        " Version/26.1 Mobile/15E148 Safari/604.1"
    ),
    "Safari on iPad": (
        f"Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) {SAFARI} Version/26.1 Mobile/15E148 Safari/604.1"
    ),
}

OTHER_AGENTS = [
    ("Edge on Windows", f"Mozilla/5.0 (Windows NT 10.0) {WEBKIT} Chrome/64.0.3282.140 Safari/537.36 Edge/18.1776"),
    ("Edge on Android", f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} Chrome/147.0.0.0 Mobile Safari/537.36 EdgA/147"),
    ("Edge on iPhone", f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) {SAFARI} Version/18.0 EdgiOS/147 "
     "Mobile/15E148 Safari/605.1.15"),
    ("Opera on Windows", f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {WEBKIT} Chrome/147 Safari/537.36 OPR/131.0.0.0"),
    ("Opera on Windows", "Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.18"),
    ("Opera on macOS", f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {WEBKIT} Chrome/147 Safari/537.36 OPR/131"),
    ("Samsung Internet on Android", f"Mozilla/5.0 (Linux; Android 10; K) {WEBKIT} SamsungBrowser/28.0 "
     "Chrome/130.0.0.0 Mobile Safari/537.36"),
    ("Firefox on Android", "Mozilla/5.0 (Android 16; Mobile; rv:146.0) Gecko/146.0 Firefox/146.0"),
    ("Firefox on iPhone", f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) {SAFARI} FxiOS/146.0 "
     "Mobile/15E148 Safari/605.1.15"),
    ("Chrome on iPhone", f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) {SAFARI} CriOS/147.0.7339.39 "
     "Mobile/15E148 Safari/604.1"),
    ("Chrome on iPad", f"Mozilla/5.0 (iPad; CPU OS 18_7 like Mac OS X) {SAFARI} CriOS/147.0 Mobile/15E148 Safari/6"),
    ("Chrome on ChromeOS", f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/147.0.0.0 Safari/537.36"),
    ("Chrome on Linux", f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Ubuntu Chromium/81.0 Chrome/81.0 Safari/537.36"),
    ("Chrome on Android", f"Mozilla/5.0 (Linux; Android 15; CUBOT KINGKONG) {WEBKIT} Chrome/147.0.0.0 Safari/537.36"),
    ("Firefox on Windows", "Mozilla/5.0 (Windows NT 6.1; rv:52.0) Gecko/20100101 Firefox/52.0"),
    ("Internet Explorer on Windows", "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko"),
    ("Internet Explorer on Windows", "Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)"),
    ("Edge on Windows Phone", f"Mozilla/5.0 (Windows Phone 10.0; Android 6.0.1) {WEBKIT} Chrome/52 Safari/5 Edge/15"),
    ("Android", "Mozilla/5.0 (Linux; U; Android 4.4) AppleWebKit/534.30 (KHTML) Version/4.0 Mobile Safari/534.30"),
    ("iPhone", f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) {SAFARI} Mobile/15E148"),
    ("Linux", f"Mozilla/5.0 (X11; Linux x86_64) {SAFARI} Version/26.0 Safari/605.1.15"),
    ("Googlebot", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    ("Googlebot", f"Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) {WEBKIT} Chrome/147.0 Mobile Safari/537.36 "
     "(compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    ("bingbot", f"Mozilla/5.0 {WEBKIT}; compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm) Chrome/116"),
    ("GPTBot", f"Mozilla/5.0 {WEBKIT}; compatible; GPTBot/1.2; +https://openai.com/gptbot)"),
    ("YandexBot", "Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)"),
    ("Baiduspider", "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)"),
    ("Slackbot", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"),
    ("facebookexternalhit", "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)"),
    ("HeadlessChrome", f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} HeadlessChrome/147.0.0.0 Safari/537.36"),
    ("curl", "curl/8.14.1"),
    ("Wget", "Wget/1.25.0"),
    ("python-requests", "python-requests/2.32.5"),
    ("Go-http-client", "Go-http-client/2.0"),
    ("okhttp", "okhttp/5.1.0"),
    ("Apache-HttpClient", "Apache-HttpClient/4.5.14 (Java/21.0.4)"),
    (UNKNOWN, "Mozilla/5.0"),
    (UNKNOWN, "a very private browser"),
    (UNKNOWN, "<script>alert(1)</script>"),
    ("", ""),
    ("", None),
    ("", "\x00\r\n"),
]  # fmt: skip

ANYTHING = st.none() | st.integers() | st.text() | st.binary() | st.lists(st.text(), max_size=2)


class TestAUserAgent:
    @pytest.mark.parametrize(("words", "agent"), [*COMMON_AGENTS.items(), *OTHER_AGENTS])
    def test_is_put_into_words(self, words, agent):
        assert described(agent) == words

    @given(agent=ANYTHING)
    def test_may_be_anything(self, agent):
        assert len(described(agent)) <= LONGEST_AGENT

    @pytest.mark.parametrize("piece", ["-", "bo", "bot-", "a", "Safari/", "Mozilla/5.0 ", "A/"])
    def test_takes_no_time_however_it_is_made(self, piece):
        described(piece * 1_000_000)

    @pytest.mark.parametrize(
        ("given", "kept"),
        [
            ("curl/8", "curl/8"),
            (" curl/8\r\n", "curl/8"),
            ("a\x00b\x1b[31mc\x7f\x85d", "ab[31mcd"),
            ("backwards \u202egnp.exe", "backwards gnp.exe"),
            ("half a pair \ud800", "half a pair"),
            ("Ünïcode ✓", "Ünïcode ✓"),
            ("x" * 1000, "x" * LONGEST_AGENT),
            ("\x00" * 1000 + "x", "x"),
            ("\x00" * 1_000_000 + "x", None),
            ("", None),
            ("\n", None),
            (b"curl/8", None),
            (["curl/8"], None),
        ],
    )
    def test_is_kept_short_and_printable(self, given, kept):
        assert Device(user_agent=given).user_agent == kept


class TestAnAddress:
    @pytest.mark.parametrize(
        ("given", "kept", "less"),
        [
            ("203.0.113.77", "203.0.113.77", "203.0.113.0"),
            (" 203.0.113.77 ", "203.0.113.77", "203.0.113.0"),
            ("127.0.0.1", "127.0.0.1", "127.0.0.0"),
            ("255.255.255.255", "255.255.255.255", "255.255.255.0"),
            ("2001:DB8:1:2:3:4:5:6", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
            ("::1", "::1", "::"),
            ("::ffff:203.0.113.77", "203.0.113.77", "203.0.113.0"),
            ("fe80::1%eth0", "fe80::1", "fe80::"),
            ("", None, None),
            ("unix:", None, None),
            ("testserver", None, None),
            ("203.0.113.77:80", None, None),
            ("203.0.113", None, None),
            ("<script>", None, None),
            ("1" * 100_000, None, None),
            (None, None, None),
            (3405803853, None, None),
            (b"\x7f\x00\x00\x01", None, None),
            (True, None, None),
        ],
    )
    def test_is_kept_whole_or_masked_and_nothing_else_is(self, given, kept, less):
        assert Device(given).address == kept
        assert masked(given) == less
        assert Device(given, "curl/8").masked() == Device(less, "curl/8")

    @given(address=st.ip_addresses())
    def test_shares_its_mask_with_its_neighbours(self, address):
        less = masked(str(address))
        assert masked(less) == less
        assert Device(less).address == less

    @given(address=ANYTHING)
    def test_may_be_anything(self, address):
        assert Device(address).address is None or masked(address)


class TestTheEntryOfASession:
    @pytest.mark.parametrize(
        ("device", "entry"),
        [
            (Device("203.0.113.7", "curl/8"), {"address": "203.0.113.7", "agent": "curl/8"}),
            (Device("203.0.113.7"), {"address": "203.0.113.7"}),
            (Device(user_agent="curl/8"), {"agent": "curl/8"}),
            (Device(), {}),
        ],
    )
    def test_holds_the_parts_that_are_known(self, device, entry):
        assert device.entry == entry
        assert device_in({KEY: entry}) == device

    @pytest.mark.parametrize(
        "data",
        [
            {},
            {KEY: None},
            {KEY: "203.0.113.7"},
            {KEY: ["203.0.113.7", "curl/8"]},
            {KEY: {}},
            {KEY: {"address": 5, "agent": {"a": 1}}},
            {KEY: {"address": "nowhere", "agent": "\x00"}},
            {KEY: {"Address": "203.0.113.7"}},
        ],
    )
    def test_that_is_nonsense_names_no_device(self, data):
        assert device_in(data) == Device()

    @given(entry=ANYTHING | st.dictionaries(st.sampled_from(["address", "agent", "x"]), ANYTHING))
    def test_may_be_anything(self, entry):
        device = device_in({KEY: entry})
        assert device_in({KEY: device.entry}) == device
