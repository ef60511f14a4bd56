"""The settings FIQA_* that producers and workers share."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fiqa.contract import DEFAULT_NAMESPACE, REDIS_STORAGE
from fiqa.errors import SettingsError, first_problem
from fiqa.text import has_credentials

NOT_A_REDIS_URL: Final = (
    "not a Redis URL: redis://user:password@host:port/database, special characters in user and password percent-encoded"
)
NO_CREDENTIALS: Final = (
    "credentials are not a part of a URI: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
)
_REDIS_SCHEME: Final = re.compile(r"(redis|rediss|unix|sentinel|redis\+sentinel|rediss\+sentinel)://")
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CLUSTER: Final = re.compile(r"(?i)[a-z+]*cluster[a-z+]*://")


def _redis_url(url: str) -> str:
    if _CLUSTER.match(url):
        raise PydanticCustomError("redis_url", "for Redis Cluster, set the redis:// URL of one node")
    if not _REDIS_SCHEME.match(url):
        # Pydantic's own message would quote the pattern, which helps nobody, and the value, which may hold a password.
        raise PydanticCustomError("redis_url", NOT_A_REDIS_URL)
    return url


def _namespace(name: str) -> str:
    if not _NAMESPACE.fullmatch(name):
        # Braces would move the keys to other slots of a cluster, and Redis's rules for users read * and ? as patterns.
        raise PydanticCustomError("namespace", "1 to 64 letters and digits of ASCII, dots, hyphens and underscores")
    return name


class Settings(BaseSettings):
    """Settings from the environment. Most S3 settings are AWS's own (AWS_ENDPOINT_URL, AWS_PROFILE and so on).

    Attributes:
        redis_url: redis://, rediss://, unix:// or sentinel://.
        namespace: the beginning of all keys in Redis. Installations with different ones can share a Redis.
        storage: where the manifests and results of new jobs are.
        s3_requester_pays: agree to pay for requests to "requester pays" buckets.
        s3_anonymous: read and list images without credentials. A storage and a mirror of models still use credentials.
    """

    model_config = SettingsConfigDict(env_prefix="FIQA_", frozen=True)

    redis_url: Annotated[str, AfterValidator(_redis_url)] = "redis://localhost:6379/0"
    namespace: Annotated[str, AfterValidator(_namespace)] = DEFAULT_NAMESPACE
    storage: Annotated[str, Field(min_length=1)] = REDIS_STORAGE
    s3_requester_pays: bool = False
    s3_anonymous: bool = False

    @field_validator("*")
    @classmethod
    def _no_credentials(cls, value: object, info: ValidationInfo) -> object:
        # Messages, logs and `fiqa workers` show these values.
        texts = value if isinstance(value, tuple) else (value,)
        if info.field_name != "redis_url" and any(isinstance(text, str) and has_credentials(text) for text in texts):
            raise PydanticCustomError("credentials", NO_CREDENTIALS)
        return value

    @classmethod
    def load(cls, **given: Any) -> Self:
        """Read the settings. An argument takes precedence over the environment.

        Raises:
            SettingsError: names the variable and what is wrong, but not the value (it may hold a password).
        """
        try:
            return cls(**given)
        except ValidationError as error:
            name, problem = first_problem(error)
            raise SettingsError(f"FIQA_{name.replace('.', '_').upper()}: {problem}") from None
