"""One page from all results: sections, their templates, figures, and the papers' tables beside ours.

For others: page.write, contents.Contents, contents.Slimmed, cards.write_cards, show.find, figures.cells.draw_cell,
figures.style, published.
"""
