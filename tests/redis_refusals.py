"""Ways in which a real Redis is up and refuses.

Each is a context manager. At its end, the server accepts commands again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

import redis

from tests.waiting import wait_until

Refusal: TypeAlias = Callable[[str], AbstractContextManager[None]]

_PASSWORD: Final = "of-the-tests-alone"  # noqa: S105  of a test server


def _client(**options: Any) -> Any:
    """Any: some of redis-py's commands have no types."""
    return redis.Redis(**options)


@contextmanager
def _admin(url: str) -> Iterator[Any]:
    """A client of a user that no refusal affects."""
    port = urlsplit(url).port
    with suppress(redis.RedisError), closing(_client(port=port)) as default:
        default.execute_command("ACL", "SETUSER", "admin", "on", f">{_PASSWORD}", "~*", "&*", "+@all")
    with closing(_client(port=port, username="admin", password=_PASSWORD)) as admin:
        yield admin


def _setting(name: str, value: str) -> Refusal:
    @contextmanager
    def refusal(url: str) -> Iterator[None]:
        with _admin(url) as admin:
            before = admin.config_get(name)[name]
            admin.config_set(name, value)
            try:
                yield
            finally:
                admin.config_set(name, before)

    return refusal


@contextmanager
def replica(url: str) -> Iterator[None]:
    """READONLY, and UNBLOCKED for clients that wait in BRPOP, as after a failover."""
    with _admin(url) as admin:
        admin.replicaof("127.0.0.1", 1)
        try:
            yield
        finally:
            admin.replicaof("NO", "ONE")


@contextmanager
def replica_without_master(url: str) -> Iterator[None]:
    """MASTERDOWN, for PING as well."""
    with _setting("replica-serve-stale-data", "no")(url), replica(url):
        yield


@contextmanager
def no_disk(url: str) -> Iterator[None]:
    """MISCONF, for PING as well: the last snapshot failed, since a folder is in its place."""
    with _admin(url) as admin:
        obstacle = Path(admin.config_get("dir")["dir"]) / admin.config_get("dbfilename")["dbfilename"]
        obstacle.unlink(missing_ok=True)
        (obstacle / "full").mkdir(parents=True)
        try:
            with _setting("save", "3600 1000000")(url):
                admin.bgsave()
                wait_until(lambda: admin.info("persistence")["rdb_last_bgsave_status"] == "err")
                yield
        finally:
            (obstacle / "full").rmdir()
            obstacle.rmdir()


@contextmanager
def busy_script(url: str) -> Iterator[None]:
    """BUSY: somebody's script does not end."""

    def run() -> None:
        with suppress(redis.RedisError), closing(redis.Redis.from_url(url, socket_timeout=None)) as server:
            server.eval("while true do end", 0)

    with _admin(url) as admin, _setting("busy-reply-threshold", "50")(url):
        script = threading.Thread(target=run)
        script.start()
        try:
            time.sleep(0.2)
            yield
        finally:
            while script.is_alive():
                with suppress(redis.RedisError):
                    admin.script_kill()
                script.join(0.1)


def _user(refuse: tuple[str, ...], restore: tuple[str, ...]) -> Refusal:
    @contextmanager
    def refusal(url: str) -> Iterator[None]:
        with _admin(url) as admin:
            admin.execute_command("ACL", "SETUSER", "default", *refuse)
            admin.execute_command("CLIENT", "KILL", "USER", "default")
            try:
                yield
            finally:
                admin.execute_command("ACL", "SETUSER", "default", *restore)

    return refusal


@contextmanager
def unblocked(url: str) -> Iterator[None]:
    """UNBLOCKED, and nothing else."""
    with _admin(url) as admin:
        for client in admin.client_list():
            admin.execute_command("CLIENT", "UNBLOCK", client["id"], "ERROR")
        yield


REFUSALS: Final[dict[str, Refusal]] = {
    "READONLY": replica,
    "MASTERDOWN": replica_without_master,
    "NOREPLICAS": _setting("min-replicas-to-write", "1"),
    "MISCONF": no_disk,
    "BUSY": busy_script,
    "OOM": _setting("maxmemory", "1"),
    "UNBLOCKED": unblocked,
    "NOPERM": _user(("-@all", "+@connection", "+@read"), ("+@all",)),
    "NOPERM for scripts": _user(("-evalsha", "-script"), ("+@all",)),
    "WRONGPASS": _user(("resetpass", ">another"), ("nopass",)),
    "max clients": _setting("maxclients", "2"),
}
