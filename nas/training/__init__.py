"""How weights are trained: recipes, the loop, checkpoints, devices, several processes.

For others: loop.train, loop.Recipe, loop.Checkpoint, distributed.
"""
