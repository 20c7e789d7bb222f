"""`python -m load_tests.replicas`."""

from load_tests.replicas.cli import main

main()
