"""Redis Sentinel: each new connection asks the Sentinels for the master. So a failover needs no other settings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_SCHEME: Final = re.compile(r"(?:redis(s?)\+)?sentinel")
_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:@/,\[\]]+)(?::(\d{1,5}))?")
_PORT: Final = 26379
_LAST_PORT: Final = 65535
# A Sentinel answers from its memory. The next one is asked sooner than a Redis that is busy would be given up.
_TIMEOUT_S: Final = 2.0


class SentinelError(redis.RedisError):
    """No Sentinel names the master. The message is a whole line that says what to do."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """The Sentinels that watch one master.

    A connection of redis-py's Sentinel classes takes it in place of a pool of connections.

    Attributes:
        addresses: host and port of each Sentinel.
        service_name: the name of the master.
        arguments: those of redis-py's Redis for a connection to a Sentinel.
    """

    addresses: tuple[tuple[str, int], ...]
    service_name: str
    arguments: Mapping[str, Any]
    is_master: bool = True
    check_connection: bool = False

    def get_master_address(self) -> tuple[str, int]:
        """Return host and port of the master, as the first Sentinel that answers names them.

        Raises:
            SentinelError: no Sentinel answers, or none watches this master.
        """
        silent, answered = [], ""
        for host, port in self.addresses:
            with self._connect(host, port) as sentinel:
                try:
                    found = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service_name)
                    if found:
                        return found[0].decode(), int(found[1])
                    answered = (
                        f"the Sentinel at {host}:{port} watches no master {self.service_name}{_others(sentinel)}:"
                        " set the option master in FIQA_REDIS_URL"
                    )
                except redis.RedisError as error:
                    silent.append(_explained(error, f"{host}:{port}", tls=self.arguments["ssl"]))
        raise SentinelError(answered or "; ".join(silent))

    def _connect(self, host: str, port: int) -> Any:
        arguments: dict[str, Any] = {"socket_timeout": _TIMEOUT_S, "socket_connect_timeout": _TIMEOUT_S}
        retry = Retry(NoBackoff(), 0)
        return redis.Redis(host, port, protocol=2, retry=retry, **arguments, **self.arguments)


def _others(sentinel: Any) -> str:
    """Return the masters that a Sentinel watches, for a message; nothing if the user may not list them."""
    try:
        masters = sentinel.execute_command("SENTINEL", "MASTERS")
    except redis.exceptions.NoPermissionError:
        return ""
    names = sorted(dict(zip(each[::2], each[1::2], strict=True))[b"name"].decode() for each in masters)
    return f", only {', '.join(names)}" if names else ", and no other"


def _explained(error: redis.RedisError, where: str, *, tls: bool) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
        return (
            f"the Sentinel at {where} refuses ({text}): set sentinel_username and sentinel_password in FIQA_REDIS_URL"
        )
    if "unknown command" in text.lower():
        return f"{where} is not a Sentinel: set FIQA_REDIS_URL to the Sentinels, or to redis://{where}"
    if "certificate verify failed" in text:
        return f"the Sentinel at {where} shows a certificate that is not trusted: set ssl_ca_certs in FIQA_REDIS_URL"
    hint = ""
    if tls and "refused" not in text:
        hint = "; if this port takes no TLS, use sentinel://"
    elif not tls and any(part in text.lower() for part in ("reset by peer", "closed by server")):
        hint = "; if this port takes TLS only, use rediss+sentinel://"
    return f"the Sentinel at {where} does not answer ({text}): start it, or set FIQA_REDIS_URL{hint}"


def split_addresses(url: str) -> tuple[str, tuple[tuple[str, int], ...]]:
    """Return the URL with its first host alone, as if it were that of one server, and the addresses of the Sentinels.

    A URL that does not name Sentinels is returned as it is, without addresses.

    Raises:
        ValueError: an address is not a host, or a host and a port.
    """
    scheme, _, rest = url.partition("://")
    kind = _SCHEME.fullmatch(scheme)
    if not kind:
        return url, ()
    # The login may have a comma or a question mark only percent-encoded.
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    found = [_ADDRESS.fullmatch(host) for host in hosts.split(",")]
    addresses = tuple((each[1].strip("[]"), int(each[2] or _PORT)) for each in found if each)
    if len(addresses) < len(found) or any(port > _LAST_PORT for _, port in addresses):
        raise ValueError("not a host and a port")
    return f"redis{kind[1] or ''}://{login}{at}localhost{rest[len(authority) :]}", addresses
