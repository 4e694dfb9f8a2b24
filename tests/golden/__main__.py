"""Writes golden files that are missing, and the examples in docs/protocol.md. A file that is there stays as it is."""

from golden import FOLDER, PROTOCOL, as_text, with_examples
from golden.messages_v1 import MESSAGES

if __name__ == "__main__":
    for name, message in MESSAGES.items():
        path = FOLDER / f"{name}.json"
        if not path.exists():
            path.write_text(as_text(message), "utf-8")
    PROTOCOL.write_text(with_examples(PROTOCOL.read_text("utf-8")), "utf-8")
