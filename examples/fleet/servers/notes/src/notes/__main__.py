"""`python -m notes`: serve over stdio. NOTES_FILE says where the notes are, default `notes.db` here."""

import os
from pathlib import Path

from notes.server import create
from notes.store import Store


def main() -> None:
    create(Store(Path(os.environ.get("NOTES_FILE", "notes.db")))).run("stdio")


if __name__ == "__main__":
    main()
