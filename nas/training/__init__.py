"""How weights are trained: recipes, the loop, checkpoints, devices, several processes.

For others: context.begin, recipe.Recipe, loop.train, loop.evaluate, loop.run_epochs, checkpoint.Checkpoint,
device.choose_device, device.seed_for, distributed.
"""
