"""The words of the report. A package, so that they count for what imports it alone."""
