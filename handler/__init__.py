"""The package that travels inside the archive. Read it in the order of a request:

    request ─▶ parser ─▶ decode ─▶ preprocess ─▶ model ─▶ thresholds ─▶ responses ─▶ answer
                 └────────────── errors: an item that fails steps out here ────────▲

`service` is this whole way. An adapter gives it requests and gets answers (`messages`); `adapter` is the one for
TorchServe. `classifier` puts decode, preprocess and model together, for the server and for every batch job. The model
runs its network by one of the `engines` and turns logits into scores by the `calibration`. A `job` is one request on
its way, of which the adapter makes metrics and log lines.
"""
