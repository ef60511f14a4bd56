"""S3 as this machine sees it, and whether sources can be read from here."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes, urlsplit

from fiqa.doctor.findings import Finding, State
from fiqa.doctor.storage import quick_s3_client
from fiqa.errors import SettingsError
from fiqa.s3 import BUCKET_NAME, s3_session
from fiqa.s3_errors import describe, s3_errors
from fiqa.s3_uri import advice_for
from fiqa.settings import Settings
from fiqa.text import without_secrets

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from botocore.session import Session

_NO_CREDENTIALS: Final = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
# botocore's names of where it found credentials.
_FOUND_IN: Final = {
    "env": "from AWS_ACCESS_KEY_ID",
    "shared-credentials-file": "from the credentials file",
    "config-file": "from the config file",
    "boto-config": "from the config file of boto",
    "custom-process": "from a credential_process",
    "assume-role": "of a role",
    "assume-role-with-web-identity": "of a role, by a web identity token",
    "sso": "of SSO",
    "container-role": "of the container's role",
    "iam-role": "of the machine's role",
}


def check_s3(*, is_needed: bool) -> Iterator[Finding]:
    """Look for credentials. No request is sent to S3.

    Args:
        is_needed: whether the storage, the models or a source to check is in S3.

    Raises:
        SettingsError: the settings of S3 are wrong, or the credentials cannot be fetched.
    """
    session = s3_session()
    client = quick_s3_client(session=session)
    parts = urlsplit(str(client.meta.endpoint_url))
    endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    where = f"region {client.meta.region_name}, endpoint {endpoint}"
    credentials = _credentials(session)
    if credentials is not None:
        found = _FOUND_IN.get(credentials.method, f"by {credentials.method}")
        profile = session.get_config_variable("profile")
        named = f" (profile {profile})" if profile and credentials.method != "env" else ""
        yield Finding("s3", State.OK, f"credentials {found}{named}, {where}")
    elif is_needed and not Settings.load().s3_anonymous:
        yield Finding("s3", State.WRONG, f"no credentials ({where}): {_NO_CREDENTIALS}")
    else:
        yield Finding("s3", State.SKIPPED, f"no credentials ({where}): to use private buckets, {_NO_CREDENTIALS}")


def _credentials(session: Session) -> Credentials | None:
    try:
        credentials: Credentials | None = session.get_credentials()
        if credentials is not None:
            credentials.get_frozen_credentials()  # fetches them again, if they have expired
    except Exception as error:  # files, commands and services of credentials may fail in any way
        raise SettingsError(f"credentials: {' '.join(str(error).split())}: {_NO_CREDENTIALS}") from error
    return credentials


def check_source(source: str) -> Iterator[Finding]:
    """List a source, and read a byte of the first file in it.

    Args:
        source: s3://bucket/prefix, file:///path, or a path.
    """
    if source.startswith("s3://"):
        yield _in_s3(source)
    elif "://" in source and not source.startswith("file:///"):
        advice = advice_for(source) or "workers read s3://bucket/prefix and file:///path"
        yield Finding("source", State.WRONG, f"{without_secrets(source)}: {advice}")
    else:
        path = source.removeprefix("file://")
        yield _on_disk(Path(os.fsdecode(unquote_to_bytes(path)) if path != source else source))


def _in_s3(source: str) -> Finding:
    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not BUCKET_NAME.fullmatch(bucket):
        advice = advice_for(source) or "not the name of a bucket: s3://bucket/prefix"
        return Finding("source", State.WRONG, f"{without_secrets(source)}: {advice}")
    client: Any = quick_s3_client(for_images=True)
    doing = "list"
    try:
        page = client.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=10)
        keys = [found["Key"] for found in page.get("Contents", ()) if found["Size"]]
        if not keys:
            return Finding("source", State.WRONG, f"{source} can be listed, but holds no files: check the prefix")
        doing = "read"
        body = client.get_object(Bucket=bucket, Key=keys[0])["Body"]
        body.read(1)
        body.close()
    except s3_errors() as error:
        return Finding("source", State.WRONG, f"cannot {doing} {source}: {describe(error).text}")
    return Finding("source", State.OK, f"{source}: listed, and read {keys[0]}")


def _on_disk(path: Path) -> Finding:
    try:
        if not path.is_dir():
            with path.open("rb") as file:
                file.read(1)
            return Finding("source", State.OK, f"{path}: read")
        with os.scandir(path) as entries:
            first = next(entries, None)
    except FileNotFoundError:
        return Finding("source", State.WRONG, f"{path} does not exist on this machine: mount it, or correct the path")
    except OSError as error:
        return Finding("source", State.WRONG, f"cannot read {path}: {error.strerror}: let this user read it")
    if first is None:
        return Finding("source", State.WRONG, f"{path} is empty on this machine: is the share mounted?")
    return Finding("source", State.OK, f"{path}: listed")
