"""The ports of a TorchServe."""

import socket
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True)
class Ports:
    inference: int = 8080
    management: int = 8081
    metrics: int = 8082
    grpc_inference: int = 7070
    grpc_management: int = 7071

    @classmethod
    def from_first(cls, first: int) -> Self:
        """Five consecutive ports."""
        return cls(*range(first, first + 5))

    def taken(self) -> list[int]:
        """The ports on which a process listens."""
        busy = []
        for port in vars(self).values():
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    busy.append(port)
        return busy
