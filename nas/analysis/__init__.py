"""What a finished search or network is worth: class activation maps, and how clear a choice was.

For others: gradcam.heat_maps, gradcam.confidence_drop, preference.Preference, preference.repeatability.
"""
