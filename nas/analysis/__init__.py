"""What a search or a network is worth: class activation maps, how clear a choice was, and the truth of a space.

For others: gradcam.heat_maps, gradcam.confidence_drop, preference.Preference, preference.repeatability,
truth.Truth, truth.trajectory, proxies.PROXIES, tables.read.
"""
