"""`python -m sipsimple.cli` is the same as `sipsimple`."""

from sipsimple.cli import main

main()
