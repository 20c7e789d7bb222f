"""`python -m load_tests.bench`."""

from load_tests.bench.cli import main

main()
