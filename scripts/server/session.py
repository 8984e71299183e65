"""HTTP sessions that talk to a server and to nobody else."""

import requests


def direct_session() -> requests.Session:
    """A session that ignores HTTP_PROXY and ~/.netrc: a proxy can't reach a server on loopback and would be handed its
    tokens, and a `default` entry in ~/.netrc replaces the Authorization header."""
    session = requests.Session()
    session.trust_env = False
    return session
