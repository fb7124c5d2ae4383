"""`python -m glassbox`; see `cli`."""

from glassbox.cli import entry

if __name__ == "__main__":
    entry()
