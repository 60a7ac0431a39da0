"""What tests of results share."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from synthetic_results import small_study

from metafa.results import leases
from metafa.results.store import Store
from metafa.studies.study import Study


@pytest.fixture
def checked() -> Study:
    return small_study()


@pytest.fixture
def killed_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], contextlib.AbstractContextManager]:
    """Whatever runs within it is ended, as by a kill, once it has made so many changes to a store."""

    @contextlib.contextmanager
    def within(changes: int) -> Iterator[None]:
        left = [changes]

        def counting(original):
            def change(*arguments, **options):
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                return original(*arguments, **options)

            return change

        with monkeypatch.context() as patched:
            for name in ("put", "create", "make_folders", "rename", "remove"):
                patched.setattr(Store, name, counting(getattr(Store, name)))
            with contextlib.suppress(KeyboardInterrupt):
                yield
        monkeypatch.setattr(leases, "GONE_AFTER", 0)  # the process of those killed here goes on, and they with it

    return within


class Unavailable(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.send_response(503, "Slow Down")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer

    def log_message(self, *said: object) -> None:
        pass


@pytest.fixture
def unavailable() -> Iterator[str]:
    """The address of results in an object store that has too much to do."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        where = f"scheme=http&region=us-east-1&endpoint_override=127.0.0.1:{server.server_port}"
        yield f"s3://key:secret@bucket/results?{where}"
        server.shutdown()
