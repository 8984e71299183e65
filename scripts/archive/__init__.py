"""From a checkpoint to a .mar: recipe ─▶ ingredients (checkpoint, sources, measured) ─▶ stage ─▶ mar.

And from a .mar: manifest, unpacking ─▶ outline; trials and variant tune it.
"""
