from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, HTTPClientError, NoCredentialsError

from fiqa.s3 import s3_client
from fiqa.s3_errors import describe, in_words, s3_errors
from tests.conftest import Bucket


@pytest.mark.usefixtures("s3_env")
def test_an_error_of_the_server_has_its_code_and_a_hint(bucket: Bucket) -> None:
    client = s3_client()
    with pytest.raises(s3_errors()) as no_object:
        client.get_object(Bucket=bucket.name, Key="none")
    assert describe(no_object.value) == ("NoSuchKey", "no such object: was it deleted?")
    with pytest.raises(s3_errors()) as no_body:
        client.head_object(Bucket=bucket.name, Key="none")
    assert describe(no_body.value) == ("404", "no such object or bucket")
    with pytest.raises(s3_errors()) as no_bucket:
        client.list_objects_v2(Bucket=f"{bucket.name}-no")
    assert describe(no_bucket.value) == ("NoSuchBucket", "no such bucket: check its name, or make it")


def test_an_unknown_code_is_quoted() -> None:
    assert describe(ClientError({"Error": {"Code": "Odd.Code"}}, "PutObject")) == ("Odd.Code", in_words("Odd.Code"))
    assert in_words("Odd.Code") == "the store answered Odd.Code"


def test_an_error_that_is_not_the_servers_has_no_code() -> None:
    assert describe(NoCredentialsError()) == (
        "",
        "no credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    )
    cut = HTTPClientError(error="cut\noff", request=None, response=None)
    assert describe(cut) == ("", "An HTTP Client raised an unhandled exception: cut off")
    assert describe(None).code == ""
