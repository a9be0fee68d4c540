"""``python -m model.cli``, the same as ``feedtwin``."""

from model.cli.app import main

main()
