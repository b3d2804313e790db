"""What the results of tests mean: expectations, and the words for outcomes. Nothing here imports pytest."""
