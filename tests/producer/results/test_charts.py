from __future__ import annotations

import re

from fiqa.results.page import render
from fiqa.results.tally import tally
from tests.producer.results.pages import result


def test_inputs_of_one_model_share_a_chart_each_in_its_color() -> None:
    low, high = (tally([result(f"s3://{name}/{n}", base + n / 100) for n in range(40)], name) for name, base in
                 (("low", 0.1), ("high", 0.5)))  # fmt: skip
    html = render([low, high])
    (chart,) = re.findall(r"<svg[^>]*Quality of.*?</svg>", html)
    assert [len(re.findall(rf'series serie-\d color-{n}"><path', chart)) for n in range(3)] == [1, 1, 0]
    assert "never comparable" not in html
