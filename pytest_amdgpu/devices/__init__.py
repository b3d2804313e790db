"""Which GPUs there are, what they are called, and which of them a run uses."""
