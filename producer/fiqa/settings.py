"""FIQA_* settings that both sides share."""

from __future__ import annotations

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, ValidationError
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from fiqa.errors import SettingsError

NOT_A_REDIS_URL: Final = (
    "not a Redis URL: redis://user:password@host:port/database, special characters in user and password percent-encoded"
)
_REDIS_SCHEME: Final = re.compile(r"(redis|rediss|unix)://")


def _redis_url(url: str) -> str:
    if not _REDIS_SCHEME.match(url):
        # In other words than the pattern's, which nobody can act on; and without the value.
        raise PydanticCustomError("redis_url", NOT_A_REDIS_URL)
    return url


class Settings(BaseSettings):
    """Read from the environment; S3 settings are boto3's own (AWS_ENDPOINT_URL, AWS_PROFILE and so on)."""

    model_config = SettingsConfigDict(env_prefix="FIQA_", frozen=True)

    redis_url: Annotated[str, AfterValidator(_redis_url)] = "redis://localhost:6379/0"
    storage: Annotated[str, Field(min_length=1)] = "redis"

    @classmethod
    def load(cls, **given: str) -> Self:
        """Read the environment; what is given goes before it.

        Raises:
            SettingsError: naming the variable and what is wrong with it, without its value (it may hold a password).
        """
        try:
            return cls(**given)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            name = "_".join(str(part) for part in first["loc"]).upper()
            raise SettingsError(f"FIQA_{name}: {first['msg']}") from None
