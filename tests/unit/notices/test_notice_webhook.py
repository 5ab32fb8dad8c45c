"""A real HTTP server that is down, slow, answers 500, and then takes what was raised: each notice arrives once."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from certificates import Authority
from notice_site import Site

from dicom_node.jobs.retry import RetryPolicy
from dicom_node.notices import webhook
from dicom_node.notices.model import Event, Notice, Severity
from dicom_node.notices.webhook import Webhook

SLOW, REDIRECT = -1, 302


class Hook:
    """Answers as told; `taken` are the documents of requests that it answered 200."""

    def __init__(self, port: int = 0) -> None:
        self.answers: list[int] = []
        self.taken: list[dict[str, Any]] = []
        self.asked = 0
        self.kinds: set[str | None] = set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.asked += 1
                hook.kinds.add(self.headers["Content-Type"])
                document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = hook.answers.pop(0) if hook.answers else 200
                if status == SLOW:
                    time.sleep(0.6)
                    return
                if status == 200:
                    hook.taken.append(document)
                self.send_response(status)
                if status == REDIRECT:
                    self.send_header("Location", f"http://127.0.0.1:{hook.port}/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = int(self.server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}/secret-token"

    def ids(self) -> list[str]:
        return [document["id"] for document in self.taken]


@contextmanager
def serving(port: int = 0) -> Iterator[Hook]:
    hook = Hook(port)
    thread = threading.Thread(target=hook.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hook
    finally:
        hook.server.shutdown()
        hook.server.server_close()
        thread.join()


@contextmanager
def told(site: Site, url: str) -> Iterator[Webhook]:
    one = Webhook(url, 0.3, site.database, site.book)
    one.start()
    try:
        yield one
    finally:
        one.close()


def raise_some(site: Site, count: int) -> list[str]:
    """Raise notices; their ids."""
    with site.database.begin() as tx:
        for number in range(count):
            notice = Notice(Event.JOB_DEAD, Severity.ERROR, "the job failed", "retry it", job=f"job{number}")
            assert site.book.raise_once(tx, f"job_dead/{number}", notice, 1000.0 + number)
            assert not site.book.raise_once(tx, f"job_dead/{number}", notice, 2000.0 + number)
    return [str(document["id"]) for document in site.told()]


def wait_for(hook: Hook, count: int) -> None:
    end = time.monotonic() + 20
    while len(hook.taken) < count:
        assert time.monotonic() < end, f"{len(hook.taken)} of {count} arrived"
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts that a test can wait for."""
    monkeypatch.setattr(webhook, "_RETRY", RetryPolicy(backoff_s=0.05, max_backoff_s=0.1))
    monkeypatch.setattr(webhook, "_LOOK_S", 0.05)


def test_a_server_that_is_down_then_slow_then_failing_takes_each_notice_once(site: Site) -> None:
    ids = raise_some(site, 3)
    with serving() as probe:
        port = probe.port
    with told(site, f"http://127.0.0.1:{port}/secret-token"):
        time.sleep(0.3)
        with serving(port) as hook:
            hook.answers = [SLOW, 500, 503, 200, 429, 500]
            wait_for(hook, 3)
            time.sleep(0.4)
            assert hook.ids() == ids, "in the order of raising, none twice"
            assert hook.kinds == {"application/json"}
    with site.database.read() as tx:
        assert site.book.unsent(tx, 10) == []


def test_what_was_taken_before_a_restart_is_not_sent_again(site: Site) -> None:
    ids = raise_some(site, 2)
    with serving() as hook:
        hook.answers = [200, 500]
        with told(site, hook.url):
            wait_for(hook, 2)
        with told(site, hook.url):
            time.sleep(0.3)
        assert hook.ids() == ids


def test_a_document_that_the_server_rejects_does_not_hold_up_the_others(site: Site) -> None:
    ids = raise_some(site, 3)
    with serving() as hook:
        hook.answers = [400]
        with told(site, hook.url):
            wait_for(hook, 3)
        assert hook.ids() == [ids[1], ids[2], ids[0]]


def test_a_redirect_is_not_followed(site: Site) -> None:
    raise_some(site, 1)
    with serving() as hook:
        hook.answers = [REDIRECT, 200]
        one = Webhook(hook.url, 1, site.database, site.book)
        assert not one.send_all()
        assert hook.asked == 1
        assert one.send_all()


@pytest.mark.parametrize(
    ("hosts", "trusted", "taken"),
    [(("127.0.0.1",), True, True), (("127.0.0.1",), False, False), (("elsewhere.example",), True, False)],
)
def test_https_needs_a_certificate_of_that_host_by_an_authority_of_this_machine(
    site: Site, monkeypatch: pytest.MonkeyPatch, hosts: tuple[str, ...], trusted: bool, taken: bool
) -> None:
    authority = Authority(site.folder / "pki")
    identity = authority.issue("hook", hosts=hosts)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    raise_some(site, 1)
    with serving() as hook:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        hook.server.socket = context.wrap_socket(hook.server.socket, server_side=True)
        hook.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        one = Webhook(hook.url.replace("http:", "https:"), 2, site.database, site.book)
        assert one.send_all() is taken
        assert len(hook.taken) == taken


@pytest.mark.parametrize("url", ["http://127.0.0.1:port/", "http://[/", "http://user:pass@127.0.0.1:1/x"])
def test_a_broken_url_is_a_failure_and_never_logged(site: Site, url: str, capsys: pytest.CaptureFixture[str]) -> None:
    raise_some(site, 1)
    assert not Webhook(url, 1, site.database, site.book).send_all()
    printed = capsys.readouterr()
    assert "notice_not_taken" in printed.out + printed.err
    assert "127.0.0.1" not in printed.out + printed.err
