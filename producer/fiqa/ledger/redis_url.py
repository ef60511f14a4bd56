"""The Redis URL and its options. The ledger and Celery's consumer connect with the same options."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from difflib import get_close_matches
from errno import ENOENT
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlsplit

from redis.connection import URL_QUERY_ARGUMENT_PARSERS, parse_url
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from fiqa.errors import SettingsError
from fiqa.ledger.sentinel import Sentinels, split_addresses
from fiqa.settings import NOT_A_REDIS_URL

_ANYTHING: Final = re.compile(r".+", re.DOTALL)
_SECONDS: Final = re.compile(r"\d*\.?\d*[1-9]\d*")
_BOOLEAN: Final = re.compile(r"true|t|yes|y|1|false|f|no|n|0", re.IGNORECASE)

# The options of redis-py that are allowed, and the form of their values. redis-py has more options. With some of them
# fiqa would get other answers than it expects (decode_responses), or fewer connections than it has threads
# (max_connections).
_OPTIONS: Final = {
    "db": re.compile(r"\d+"),
    "username": _ANYTHING,
    "password": _ANYTHING,
    "client_name": re.compile(r"[!-~]+"),
    "protocol": re.compile(r"[23]"),
    "health_check_interval": re.compile(r"\d+"),
    "socket_timeout": _SECONDS,
    "socket_connect_timeout": _SECONDS,
    "socket_keepalive": _BOOLEAN,
    "retry_on_timeout": _BOOLEAN,
}
_TLS_OPTIONS: Final = {
    "ssl_ca_certs": _ANYTHING,
    "ssl_ca_path": _ANYTHING,
    "ssl_certfile": _ANYTHING,
    "ssl_keyfile": _ANYTHING,
    "ssl_password": _ANYTHING,
    "ssl_ciphers": _ANYTHING,
    "ssl_check_hostname": _BOOLEAN,
    # Celery spells it CERT_NONE, redis-py none.
    "ssl_cert_reqs": re.compile(r"(CERT_)?(NONE|OPTIONAL|REQUIRED)", re.IGNORECASE),
}
_SENTINEL_OPTIONS: Final = {
    "master": _ANYTHING,
    "sentinel_username": _ANYTHING,
    "sentinel_password": _ANYTHING,
}
_TAKES: Final = {
    _ANYTHING: "a value that is not empty",
    _SECONDS: "a number of seconds, more than 0",
    _BOOLEAN: "true or false",
    _OPTIONS["db"]: "a whole number",
    _OPTIONS["health_check_interval"]: "a whole number",
    _OPTIONS["client_name"]: "a name without spaces",
    _OPTIONS["protocol"]: "2 or 3",
    _TLS_OPTIONS["ssl_cert_reqs"]: "none, optional or required",
}
_NOT_FOR_SOCKETS: Final = frozenset({"socket_keepalive"})


def connection_arguments(redis_url: str) -> dict[str, Any]:
    """Return the arguments with which redis-py's ConnectionPool connects to this Redis, or to the master of Sentinels.

    Raises:
        SettingsError: `redis_url` is not a Redis URL, or has an option that fiqa does not take.
    """
    try:
        single_url, sentinels = split_addresses(redis_url)
        parts = urlsplit(single_url)
        options = _checked(parts.scheme, parse_qsl(parts.query, keep_blank_values=True), sentinel=bool(sentinels))
        # redis-py reads the user, the host and the path. It would take database 0 if the database is not a number.
        arguments = parse_url(single_url.partition("?")[0])  # type: ignore[no-untyped-call]  # half typed
        if parts.scheme != "unix":
            int(parts.path.strip("/") or 0)
    except ValueError:
        # Do not quote redis-py: its message shows a password that holds a slash.
        raise SettingsError(f"FIQA_REDIS_URL: {NOT_A_REDIS_URL}") from None
    # A Unix socket has no keep-alive, and redis-py rejects the option for one.
    keepalive = {} if parts.scheme == "unix" else {"socket_keepalive": True}
    defaults = {"socket_connect_timeout": 5.0, "socket_timeout": 10.0, "health_check_interval": 30, **keepalive}
    login = {name: arguments[name] for name in ("username", "password") if name in arguments}
    found = {**defaults, **arguments, **options, **login}
    return _through(sentinels, found) if sentinels else found


def _through(sentinels: tuple[tuple[str, int], ...], found: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of connections that ask these Sentinels for the master."""
    taken = {name: found.pop(name, None) for name in (*_SENTINEL_OPTIONS, "host", "port", "connection_class")}
    if not taken["master"]:
        raise SettingsError("FIQA_REDIS_URL: the option master is missing: sentinel://host:26379/0?master=mymaster")
    tls = taken["connection_class"] is not None
    arguments = {"ssl": tls, **{name: value for name, value in found.items() if name.startswith("ssl_")}}
    login = {"username": taken["sentinel_username"], "password": taken["sentinel_password"]}
    return found | {
        "connection_class": SentinelManagedSSLConnection if tls else SentinelManagedConnection,
        "connection_pool": Sentinels(sentinels, taken["master"], arguments | login),
    }


def shown_url(redis_url: str) -> str:
    """Return the URL without user, password and options, except the name of the master: others may be passwords."""
    scheme, _, rest = redis_url.partition("://")
    address, _, options = rest.partition("?")
    master = f"?master={quote(dict(parse_qsl(options)).get('master', ''))}" if "sentinel" in scheme else ""
    return f"{scheme}://{address.rpartition('@')[2]}{master}"


def _checked(scheme: str, pairs: list[tuple[str, str]], *, sentinel: bool) -> dict[str, Any]:
    """Return the options of a URL with their values; SettingsError names the first that is wrong."""
    found: dict[str, Any] = {}
    known: Mapping[str, re.Pattern[str]] = _OPTIONS | _TLS_OPTIONS | _SENTINEL_OPTIONS
    for name, value in pairs:
        if name not in known:
            # Do not quote the name: it may be the part of a password after an ampersand.
            alike = get_close_matches(name, known, n=1)
            hint = f"did you mean {alike[0]}?" if alike else f"it takes {', '.join(known)}"
            raise SettingsError(f"FIQA_REDIS_URL: an option that fiqa does not take; {hint}")
        if name in _TLS_OPTIONS and scheme != "rediss":
            raise SettingsError(f"FIQA_REDIS_URL: the option {name} is for rediss:// and rediss+sentinel:// only")
        if name in _SENTINEL_OPTIONS and not sentinel:
            raise SettingsError(f"FIQA_REDIS_URL: the option {name} is for sentinel:// only")
        if name in _NOT_FOR_SOCKETS and scheme == "unix":
            raise SettingsError(f"FIQA_REDIS_URL: the option {name} is not for unix://")
        if not known[name].fullmatch(value):
            raise SettingsError(f"FIQA_REDIS_URL: the option {name} takes {_TAKES[known[name]]}")
        parse: Any = URL_QUERY_ARGUMENT_PARSERS.get(name, str)
        found[name] = parse(value)
    if reqs := found.get("ssl_cert_reqs"):
        found["ssl_cert_reqs"] = reqs.lower().removeprefix("cert_")
    _check_certificates(found)
    return found


def _check_certificates(options: Mapping[str, Any]) -> None:
    """Raise SettingsError if a certificate or key cannot be used: redis-py would call that a lost connection."""
    context = ssl.create_default_context()
    names, what = "", ""
    try:
        if authorities := {name: options[name] for name in ("ssl_ca_certs", "ssl_ca_path") if name in options}:
            names, what = " and ".join(authorities), "certificates of authorities in PEM"
            if not all(Path(path).exists() for path in authorities.values()):
                raise FileNotFoundError(ENOENT, "No such file or directory")
            context.load_verify_locations(options.get("ssl_ca_certs"), options.get("ssl_ca_path"))
        if chain := {name: options[name] for name in ("ssl_certfile", "ssl_keyfile") if name in options}:
            names, what = " and ".join(chain), "a certificate and its key in PEM, or the password of the key is wrong"
            if "ssl_certfile" not in chain:
                raise FileNotFoundError(ENOENT, "ssl_certfile is missing")
            # A password is always passed. Otherwise OpenSSL would ask for one at the terminal.
            context.load_cert_chain(chain["ssl_certfile"], chain.get("ssl_keyfile"), options.get("ssl_password", ""))
        if ciphers := options.get("ssl_ciphers"):
            names, what = "ssl_ciphers", "a list of ciphers"
            context.set_ciphers(ciphers)
    except ssl.SSLError:
        raise SettingsError(f"FIQA_REDIS_URL: {names}: not {what}") from None
    except OSError as error:
        raise SettingsError(f"FIQA_REDIS_URL: {names}: {error.strerror}") from None
