"""The package that travels inside the archive. Read it in the order of a request:

    request row ─▶ requests ─▶ decode ─▶ preprocess ─▶ model ─▶ thresholds ─▶ responses ─▶ response row
                        └────────────── errors: an item that fails steps out here ──────────▲

`model` computes logits, by Python, a record or what was `compiled` ahead, and scores by the `calibration`. `classifier`
puts decode, preprocess and model together; a `job` is one request on this way, of which `metrics` and
`log` tell; `adapter` alone knows TorchServe.
"""
