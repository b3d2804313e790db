"""From reports of tests to records, a verdict, and files for people and programs."""
