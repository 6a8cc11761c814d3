"""One page from all results: sections, figures, and the papers' tables beside ours.

For others: sections.write, figures.
"""
