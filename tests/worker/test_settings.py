from __future__ import annotations

import pytest

from fiqa.errors import SettingsError
from fiqa_worker.settings import WorkerSettings


@pytest.mark.parametrize(
    "name",
    ["MODELS_DIR", "DETECTOR", "QUALITY_MODEL", "ALLOWED_SOURCES", "ALLOWED_STORAGES", "STORAGE"],
)
@pytest.mark.parametrize("value", ["s3://KEY:SECRET@bucket/x", "s3://KEY:SEC/RET@bucket", "s3://KEY@bucket/SECRET"])
def test_a_setting_with_credentials_in_a_uri_is_refused_without_showing_them(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"FIQA_{name}", value)
    with pytest.raises(SettingsError) as caught:
        WorkerSettings.load()
    assert str(caught.value).startswith(f"FIQA_{name}: credentials are not a part of a URI: set AWS_ACCESS_KEY_ID and")
    assert "SEC" not in str(caught.value).replace("AWS_SECRET", "")
