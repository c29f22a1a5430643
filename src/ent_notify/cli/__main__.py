"""``python -m ent_notify.cli``: the same as the console script."""

from ent_notify.cli import main

main()
