"""Measures this service against its peers and against the offline limit: docs/benchmark.md."""
