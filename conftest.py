"""Keep the checkout's own package importable for every test below, installed or not."""
