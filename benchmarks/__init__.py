"""Speed and memory of the library, as ratios to a plain implementation of the same mathematics."""
