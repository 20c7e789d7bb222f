"""The page at `/ui/`: its files, how they are served, and how they are written to a folder."""
