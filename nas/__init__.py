"""Differentiable architecture search: spaces, supernets, discrete networks, their training and their pictures."""
