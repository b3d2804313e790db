"""A process outside of pytest's: it ends tests that do not end, and tells the verdict if pytest cannot."""
