"""Each kind of message as it looks on the wire, one file a kind and version, kept for ever.

`messages_v1.py` holds the values that the files in v1/ must decode to. A file of a released version is never changed:
what it says must be understood by every later reader. `PYTHONPATH=tests python -m golden` writes what is missing and
brings the examples in docs/protocol.md in line.
"""

import re
from pathlib import Path
from typing import Final

import msgspec

from headway.protocol.codec import encode
from headway.protocol.messages import Message

FOLDER: Final = Path(__file__).parent / "v1"
PROTOCOL: Final = Path(__file__).parents[2] / "docs/protocol.md"

_EXAMPLE: Final = re.compile(r"(<!-- tests/golden/v1/([a-z_.]+)\.json -->\n```json\n)(.*?)(```\n)", re.DOTALL)


def as_text(message: Message) -> str:
    """Write a message for a person: the same JSON, one field a line."""
    return msgspec.json.format(encode(message), indent=2).decode() + "\n"


def examples_in(page: str) -> dict[str, str]:
    """Return the examples of a page by the name of their golden file."""
    return {found[2]: found[3] for found in _EXAMPLE.finditer(page)}


def with_examples(page: str) -> str:
    """Return the page with each example as its golden file has it."""
    return _EXAMPLE.sub(lambda found: found[1] + (FOLDER / f"{found[2]}.json").read_text("utf-8") + found[4], page)
