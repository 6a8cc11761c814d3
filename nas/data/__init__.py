"""Data sets: read, checked and split once, then batches that are augmented on the device, in memory or streamed.

For others: prepare.prepare, prepare.load, prepare.Batches.
"""
