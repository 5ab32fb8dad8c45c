"""A PostgreSQL of a test's own, which can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil


class Server:
    """On a Unix socket in its own folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self._folder = programs, folder
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self._as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        data = ["-D", str(folder / "data"), "-U", "node", "--auth=trust", "--no-sync", "-E", "UTF8", "--locale=C"]
        subprocess.run([*self._as_user, str(programs / "initdb"), *data], check=True, capture_output=True, cwd=folder)
        self.start()

    def start(self) -> None:
        where = ["-D", str(self._folder / "data"), "-k", str(self._folder), "-c", "listen_addresses="]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, str(self._programs / "postgres"), *where, "-c", "fsync=off"],
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        end = time.monotonic() + 60
        while not self._answers():
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < end, "PostgreSQL did not start"
            time.sleep(0.05)

    def _answers(self) -> bool:
        ready = [str(self._programs / "pg_isready"), "-q", "-h", str(self._folder), "-d", "postgres", "-U", "node"]
        return subprocess.run(ready, check=False).returncode == 0

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(timeout=60)

    def url(self, name: str = "postgres") -> str:
        return f"postgresql+psycopg://node@/{name}?host={self._folder}"

    def create(self, name: str) -> str:
        """A new, empty database; returns its URL."""
        create = [str(self._programs / "createdb"), "-h", str(self._folder), "-U", "node", name]
        subprocess.run(create, check=True, capture_output=True)
        return self.url(name)

    def kill(self) -> None:
        """`kill -9` of the server and all that it has started, as when the machine is switched off."""
        children = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()
        self._process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=10)


@contextmanager
def run_server(programs: Path) -> Iterator[Server]:
    """A server that is gone afterwards.

    Args:
        programs: where `initdb` lies.
    """
    folder = Path(tempfile.mkdtemp(prefix="node-postgresql-"))
    try:
        server = Server(programs, folder)
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder)
