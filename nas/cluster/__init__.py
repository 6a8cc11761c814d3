"""`dvc repro` over many workers, cores, GPUs or machines.

For others: parallel.reproduce; `python -m nas.parallel`.
"""
