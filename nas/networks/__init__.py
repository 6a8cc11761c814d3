"""The plain mathematics: discrete networks of cells, the supernet, and what a network costs.

For others: network.Network, network.load, supernet.Supernet, supernets.build_supernet, build.build_network,
complexity.count, bench201.Bench201Network.
"""
