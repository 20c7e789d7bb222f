"""Servers that ours is measured against; each folder holds one, and what it needs."""
