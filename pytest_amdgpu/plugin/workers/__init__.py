"""Runs in several processes: what pytest-xdist is told, and which worker gets which test."""
