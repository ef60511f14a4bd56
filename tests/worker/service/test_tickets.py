from __future__ import annotations

import pytest
from kombu.transport.redis import Channel

from fiqa.errors import MissingDependencyError
from fiqa_worker.service.tickets import check_kombu


def test_this_kombu_has_what_the_transport_overrides() -> None:
    check_kombu()


def test_a_kombu_without_an_overridden_method_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Channel, "_brpop_read")
    with pytest.raises(MissingDependencyError, match=r"^kombu \S+ does not fit .*Channel\._brpop_read.*kombu>=5\.7"):
        check_kombu()


def test_a_kombu_whose_method_takes_other_parameters_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Channel, "_brpop_read", lambda self, timeout: (self, timeout))
    with pytest.raises(MissingDependencyError, match=r"Channel\._brpop_read"):
        check_kombu()
