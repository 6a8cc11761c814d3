"""The bilevel search: weights on one half of the training images, α on the other.

For others: loop.search, loop.AlphaRecipe.
"""
