"""A trained network at work: what it makes of images, in what other programs run it, and how long that takes.

For others: predict.predict, models.load, images.read, export.export, quantise.quantise, latency.in_turns.
"""
