"""Runs over several hosts, which the gateways of `--tx` reach."""
