"""From raw field notes to a report: extract, clean, load into SQLite, describe each species, report.

    headway run examples/penguins.py

The data are real: body measurements of 344 penguins at Palmer Station, Antarctica, by Dr. Kristen Gorman and the Palmer
Station LTER (Gorman et al. 2014, doi:10.1371/journal.pone.0090081), published under CC0 as `penguins-raw.csv` of the
palmerpenguins package. What comes of them is written to the folder in the parameter `out`.
"""

import csv
import os
import sqlite3
from pathlib import Path
from statistics import fmean
from typing import Any

from headway import DAG, python, shell

SOURCE = Path(__file__).parent / "data/penguins-raw.csv"
DIGEST = "144f623143c9360fd77322a4f86acb06dc198814dbd2669724c63e6457b907bd"
MEASURED = ("Sex", "Flipper Length (mm)", "Body Mass (g)")
SPECIES = ("Adelie", "Chinstrap", "Gentoo")

EXTRACT = """
mkdir -p "$HEADWAY_PARAM_out"
cp "$SOURCE" "$HEADWAY_PARAM_out/raw.csv"
echo "$DIGEST  $HEADWAY_PARAM_out/raw.csv" | sha256sum --check
"""


def out(name: str) -> Path:
    """Return a file of this run."""
    return Path(os.environ["HEADWAY_PARAM_out"], name)


def clean() -> dict[str, int]:
    """Keep the birds that were measured in full, with short names for what was measured."""
    with out("raw.csv").open(newline="") as raw, out("clean.csv").open("w", newline="") as kept:
        birds = list(csv.DictReader(raw))
        whole = [bird for bird in birds if "NA" not in [bird[column] for column in MEASURED]]
        writer = csv.writer(kept)
        writer.writerow(("species", "island", "sex", "flipper_mm", "mass_g"))
        for bird in whole:
            writer.writerow((bird["Species"].split()[0], bird["Island"], *(bird[column] for column in MEASURED)))
    print(f"{len(whole)} of {len(birds)} birds were measured in full")
    return {"kept": len(whole), "dropped": len(birds) - len(whole)}


def load(counts: dict[str, int]) -> int:
    """Fill the table `penguins` of an SQLite database anew; return its rows."""
    with out("clean.csv").open(newline="") as file, sqlite3.connect(out("penguins.db")) as database:
        database.execute("DROP TABLE IF EXISTS penguins")
        database.execute("CREATE TABLE penguins (species, island, sex, flipper_mm REAL, mass_g REAL)")
        rows = [tuple(bird.values()) for bird in csv.DictReader(file)]
        database.executemany("INSERT INTO penguins VALUES (?, ?, ?, ?, ?)", rows)
    if len(rows) != counts["kept"]:
        raise ValueError(f"{counts['kept']} birds were kept, and {len(rows)} are there")
    return len(rows)


def describe(species: str) -> dict[str, Any]:
    """Return what a species looks like."""
    with sqlite3.connect(out("penguins.db")) as database:
        birds = database.execute("SELECT flipper_mm, mass_g FROM penguins WHERE species = ?", (species,)).fetchall()
    flippers, masses = zip(*birds, strict=True)
    return {"species": species, "birds": len(birds), "flipper_mm": fmean(flippers), "mass_g": fmean(masses)}


def report(counts: dict[str, int], described: list[dict[str, Any]]) -> str:
    """Write report.md, print it, and return where it is."""
    lines = [
        f"# {counts['kept']} penguins ({counts['dropped']} more were not measured in full)",
        "",
        "| species | birds | flipper | mass | |",
        "|---|---|---|---|---|",
    ]
    for one in described:
        bar = "█" * round(one["mass_g"] / 200)
        row = f"| {one['species']} | {one['birds']} | {one['flipper_mm']:.0f} mm | {one['mass_g']:.0f} g | {bar} |"
        lines.append(row)
    out("report.md").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")
    return str(out("report.md"))


with DAG(
    "penguins",
    description="Body measurements of penguins, from raw field notes to a report",
    params={"out": "penguins"},
    tags=["example"],
) as dag:
    extracted = shell("extract", EXTRACT, env={"SOURCE": str(SOURCE), "DIGEST": DIGEST})
    cleaned = python("clean", clean)
    loaded = python("load", load, args=[cleaned.output])
    profiles = [python(f"describe_{species.lower()}", describe, args=[species]) for species in SPECIES]
    reported = python("report", report, args=[cleaned.output, [profile.output for profile in profiles]])
    extracted >> cleaned >> loaded >> profiles >> reported
