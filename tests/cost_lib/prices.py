"""AWS's prices, from `prices.toml`."""

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("prices.toml")


@dataclass(frozen=True)
class Price:
    """A line of the price list."""

    what: str
    usd: float
    per: float
    free: float
    share: str
    page: str

    def of(self, amount: float) -> float:
        return amount * self.usd / self.per


@dataclass(frozen=True)
class Item:
    """An amount of what a line of the price list charges for."""

    price: str
    amount: float
    # An explanation, if the price's own words don't say enough.
    note: str = ""


class Prices:
    """The price list."""

    def __init__(self) -> None:
        listed = tomllib.loads(FILE.read_text())
        self.date, self.region = listed.pop("date"), listed.pop("region")
        self.lines = {
            name: Price(line["what"], line["usd"], line["per"], line.get("free", 0), line.get("share", name), line["page"])
            for name, line in listed.items()
        }

    def what(self, item: Item) -> str:
        return self.lines[item.price].what + (f" ({item.note})" if item.note else "")

    def usd(self, items: Iterable[Item]) -> list[float]:
        """The cost of each item."""
        return [self.lines[item.price].of(item.amount) for item in items]

    def usd_after_free(self, items: Iterable[Item]) -> list[float]:
        """The cost of each item in an account where nothing else uses the always-free tier. The
        first items use it up."""
        left = {line.share: line.free for line in self.lines.values()}
        costs = []
        for item in items:
            line = self.lines[item.price]
            free = min(left[line.share], item.amount)
            left[line.share] -= free
            costs.append(line.of(item.amount - free))
        return costs
