"""Classifies a photo again and again with an archive's code, as its worker does, but without a server.

Reads lines `SECONDS PHOTO` from stdin, and answers each with the images a second that it reached.
"""

import sys
import time
from pathlib import Path

import torch

from handler.classifier import Classifier, Share
from handler.cores import use_threads
from handler.server_settings import read_server_settings
from scripts.archive.unpacking import unpacked
from scripts.server.workers import most_workers


def main() -> None:
    with unpacked(Path(sys.argv[1])) as directory:
        server = read_server_settings(directory)
        share = Share(server.batchSize, server.minWorkers or most_workers())
        classifier = Classifier.load(directory, torch.device("cpu"), share)
    use_threads(classifier.torch_threads)
    classifier.warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        seconds, path = line.rstrip("\n").split(" ", 1)
        batch = [Path(path).read_bytes()] * classifier.batch_size
        done, started = 0, time.perf_counter()
        while (passed := time.perf_counter() - started) < float(seconds):
            done += len(classifier.classify(batch))
        print(done / passed, flush=True)


if __name__ == "__main__":
    main()
