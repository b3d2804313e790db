"""What differs between GPU families, as rows of tables."""
