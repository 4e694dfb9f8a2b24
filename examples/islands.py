"""Mapped: one task for each island in the data, however many there are, and one that takes in what they found.

headway run examples/islands.py
headway logs RUN table          one line for each island
headway logs RUN 'weigh[0]'     what the first of them wrote
"""

import csv
from pathlib import Path
from statistics import fmean
from typing import Any

from headway import DAG, item, python, shell

SOURCE = Path(__file__).parent / "data/penguins-raw.csv"


def read() -> list[dict[str, str]]:
    """Return the birds; see penguins.py for where they are from."""
    with SOURCE.open(newline="") as file:
        return list(csv.DictReader(file))


def find_islands() -> list[dict[str, Any]]:
    """Return the islands, each with its number of birds."""
    names = [bird["Island"] for bird in read()]
    return [{"name": name, "birds": names.count(name)} for name in sorted(set(names))]


def weigh(island: str) -> float:
    """Return the mean mass of an island's birds in grams."""
    birds = [bird["Body Mass (g)"] for bird in read() if bird["Island"] == island]
    masses = [int(mass) for mass in birds if mass != "NA"]
    print(f"{len(masses)} birds of {island} were weighed")
    return fmean(masses)


def table(islands: list[dict[str, Any]], masses: list[float]) -> None:
    """Print what was found, in the order of the islands."""
    for island, mass in zip(islands, masses, strict=True):
        print(f"{island['name']:10} {island['birds']:4} birds {mass:6.0f} g")


with DAG("islands", description="One task for each item of a list", tags=["example"]) as dag:
    islands = python("find_islands", find_islands)
    means = python("weigh", weigh, args=[item["name"]], over=islands.output)
    greetings = shell("greet", 'echo "hello, $HEADWAY_ITEM"', over=["penguins", "readers"])
    greetings >> python("table", table, args=[islands.output, means.output])
