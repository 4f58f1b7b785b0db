"""Kubernetes quantities as integers: parse, add with Kueue's "unlimited", and write back as Kubernetes does.

CPU counts in thousandths, everything else in units. The trap: `UNLIMITED` is the largest 64-bit number and absorbs
sums, so amounts are added with `add` and `sub` wherever a quota may be that large.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation
from functools import lru_cache

UNLIMITED = 2**63 - 1
SMALLEST = -(2**63)

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "P": Decimal(10**15),
    "E": Decimal(10**18),
}


def exact(text: str) -> Decimal:
    """Return the number that a quantity says. Raises ValueError with the text when it is none."""
    text = text.strip()
    try:
        if text[-2:] in _BINARY:
            return Decimal(text[:-2]) * _BINARY[text[-2:]]
        if text[-1:] in _DECIMAL and text[-1:].isalpha():
            return Decimal(text[:-1]) * _DECIMAL[text[-1:]]
        return Decimal(text)
    except InvalidOperation as error:
        message = f"quantity {text!r}: not a Kubernetes quantity; write a number such as 2, 500m, 3k or 4Gi"
        raise ValueError(message) from error


@lru_cache(maxsize=4096)
def resource_rank(name: str) -> tuple[int, str]:
    """Return where a resource stands among those of a pod set: by the 64-bit FNV-1a hash of its name, as in Kueue."""
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value, name


@lru_cache(maxsize=4096)
def parse(resource: str, text: str) -> int:
    """Return the amount of a resource: thousandths for cpu, units otherwise, rounded up, at most `UNLIMITED`.

    Raises ValueError with the text when it is no quantity.
    """
    value = exact(text)
    if resource == "cpu":
        value *= 1000
    whole = int(value.to_integral_value(rounding=ROUND_CEILING))
    return max(SMALLEST, min(UNLIMITED, whole))


def parse_quota(resource: str, text: str) -> int:
    """Return a quota's amount as `parse` does; from the largest 64-bit number on it is without limit."""
    amount = parse(resource, text)
    most = UNLIMITED // 1000 * 1000 if resource == "cpu" else UNLIMITED
    return UNLIMITED if amount >= most else amount


def parse_float(text: str) -> float:
    """Return a quantity as a floating-point number, as weights are read."""
    return float(exact(text))


def add(left: int, right: int) -> int:
    """Return the sum, where unlimited stays unlimited."""
    if UNLIMITED in {left, right}:
        return UNLIMITED
    return max(SMALLEST, min(UNLIMITED, left + right))


def sub(left: int, right: int) -> int:
    """Return the difference; unlimited minus unlimited is nothing."""
    if left == UNLIMITED:
        return 0 if right == UNLIMITED else UNLIMITED
    if right == UNLIMITED:
        return SMALLEST
    return max(SMALLEST, min(UNLIMITED, left - right))


def _scaled(value: int, base: int, suffixes: tuple[str, ...]) -> str:
    index = 0
    while value and value % base == 0 and index < len(suffixes) - 1:
        value //= base
        index += 1
    return f"{value}{suffixes[index]}"


def text_of(resource: str, amount: int) -> str:
    """Return the canonical Kubernetes text of an amount, for instance `4k`, `1500m` or `2Gi`."""
    if resource == "cpu":
        return _scaled(amount, 1000, ("m", "", "k", "M", "G", "T", "P")) if amount else "0"
    binary = resource in {"memory", "ephemeral-storage"} or resource.startswith("hugepages-")
    if binary and abs(amount) >= 1024 and amount % 1024 == 0:
        return _scaled(amount, 1024, ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
    return _scaled(amount, 1000, ("", "k", "M", "G", "T", "P", "E"))


def limit_text_of(resource: str, amount: int) -> str:
    """Return the text of an amount that may be without limit."""
    return "<unlimited>" if amount == UNLIMITED else text_of(resource, amount)
