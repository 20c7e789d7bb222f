"""`python -m load_tests.callers`."""

from load_tests.callers.cli import main

main()
