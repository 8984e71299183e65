"""From a checkpoint to a .mar: recipe ─▶ checkpoint, sources ─▶ stage ─▶ mar."""
