"""Data sets: read, checked and split once, then batches that are augmented on the device, in memory or streamed.

For others: prepare.prepare; dataset.load, dataset.Prepared, meta.read_meta; batches.Batches, augment.normalise;
sharing, for several processes that train together. To read another data set, see readers.
"""
