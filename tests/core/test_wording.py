"""Numbers, money, spans and Korean particles as people write them."""

import pytest

from dure.core.wording import duration, gpus, josa, money, ordinal


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (None, "0 s", "0초"),
        (0, "0 s", "0초"),
        (-3, "0 s", "0초"),
        (0.42, "0.4 s", "0.4초"),
        (3, "3 s", "3초"),
        (59.7, "1 min", "1분"),
        (125, "2 min 5 s", "2분 5초"),
        (3600, "1 h", "1시간"),
        (3605, "1 h", "1시간"),
        (3900, "1 h 5 min", "1시간 5분"),
        (200_000, "2 d 7 h", "2일 7시간"),
    ],
)
def test_spans(seconds, english, korean):
    assert duration(seconds) == english
    assert duration(seconds, "ko") == korean


@pytest.mark.parametrize(
    ("amount", "currency", "english", "korean"),
    [
        (3, "KRW", "₩3", "3원"),
        (0, "KRW", "₩0", "0원"),
        (0.2, "KRW", "under ₩1", "1원 미만"),
        (1_234_567.4, "KRW", "₩1,234,567", "1,234,567원"),
        (1.5, "USD", "$1.50", "$1.50"),
        (0.001, "USD", "under $0.01", "$0.01 미만"),
        (7, "CHF", "7.00 CHF", "7.00 CHF"),
    ],
)
def test_money(amount, currency, english, korean):
    assert money(amount, currency, "en") == english
    assert money(amount, currency, "ko") == korean


def test_gpus():
    assert [gpus(m) for m in (500, 1000, 2000, 0, None)] == ["0.5 GPU", "1 GPU", "2 GPUs", "0 GPUs", "0 GPUs"]
    assert gpus(250, "ko") == "GPU 0.25개"


def test_ordinals():
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21, 102, 111)] == (
        ["1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "102nd", "111th"]
    )


@pytest.mark.parametrize(
    ("word", "pair", "expected"),
    [
        ("작업", "은/는", "작업은"),
        ("티어", "이/가", "티어가"),
        ("노드", "을/를", "노드를"),
        ("서울", "으로/로", "서울로"),
        ("집", "으로/로", "집으로"),
        ("gold", "이/가", "gold가"),
        ("silver", "은/는", "silver는"),
        ("vision", "은/는", "vision은"),
        ("lab", "이/가", "lab이"),
        ("cloud", "으로/로", "cloud로"),
        ("j-7", "이/가", "j-7이"),
        ("j-2", "이/가", "j-2가"),
        ("h100", "을/를", "h100을"),
        ("'gold'", "은/는", "'gold'는"),
        ("", "은/는", "는"),
    ],
)
def test_particles_follow_the_sound(word, pair, expected):
    assert josa(word, pair) == expected
