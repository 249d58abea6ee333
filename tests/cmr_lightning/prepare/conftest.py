from collections.abc import Iterator
from threading import Thread

import pytest

from tests.cmr_lightning.prepare.server import Site, server_of


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = Site()
    with server_of(site) as server:
        site.address = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield site
        server.shutdown()
