"""The dashboard and the alerts work with what real workers serve."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import yaml

from fiqa import Client
from tests.monitoring.prometheus import MONITORING, ROOT, Prometheus, start_prometheus
from tests.servers import free_ports, start_redis
from tests.waiting import WAIT_S, wait_until
from tests.worker_process import launch_worker

DASHBOARD: Final = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
QUERIES: Final = {
    f"{panel['title']} {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
LEGENDS: Final = {
    f"{panel['title']} {target['refId']}": target["legendFormat"]
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
ALERTS: Final = {
    rule["alert"]: rule
    for group in yaml.safe_load((MONITORING / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
}
pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="needs Debian's package prometheus")


@dataclass(frozen=True)
class Watched:
    """A Prometheus that scrapes a worker, which has scored some images."""

    prometheus: Prometheus
    images: int


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Iterator[Watched]:
    folder, port = tmp_path_factory.mktemp("monitoring"), free_ports(1)
    with start_redis(folder) as redis, closing(Client(redis.url, str(folder / "storage"))) as client:
        worker = launch_worker(
            redis.url, folder / "worker.log", FIQA_ALLOWED_SOURCES="file:///", FIQA_METRICS_PORT=str(port)
        )
        with start_prometheus(folder, [f"127.0.0.1:{port}"]) as prometheus:
            # A rate needs values from before the images.
            wait_until(lambda: prometheus.query("count_over_time(fiqa_faces_total[1m]) > 1"), lambda: worker.log)
            uris = [path.as_uri() for path in sorted(photos.iterdir())] + ["file:///missing.jpg"]
            client.wait(client.submit(uris).id, WAIT_S)
            wait_until(lambda: prometheus.query(f"sum(fiqa_images_total) == {len(uris)}"), lambda: worker.log)
            yield Watched(prometheus, len(uris))
        worker.stop()


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_of_the_dashboard_returns_data(watched: Watched, name: str) -> None:
    query = QUERIES[name].replace("$job", "fiqa").replace("$__rate_interval", "5m")
    assert "$" not in query
    series = watched.prometheus.query(query)
    assert series, query
    labels = re.findall(r"{{(\w+)}}", LEGENDS[name])
    assert all(set(labels) <= one["metric"].keys() for one in series)


def test_prometheus_has_the_numbers_of_the_worker(watched: Watched) -> None:
    def value(expression: str) -> float:
        (series,) = watched.prometheus.query(expression)
        return float(series["value"][1])

    assert value('fiqa_images_total{code="not_found"}') == 1
    assert value('sum(fiqa_images_total{status="scored"})') > 1
    assert value('fiqa_stage_seconds_count{stage="fetch"}') == watched.images
    assert value('fiqa_stage_seconds_bucket{stage="decode", le="+Inf"}') == watched.images - 1
    assert value("sum(increase(fiqa_faces_total[5m]))") > 0


def test_the_alerts_are_loaded_and_none_fails(watched: Watched) -> None:
    wait_until(lambda: all(rule["health"] == "ok" for rule in loaded(watched)))
    assert {rule["name"] for rule in loaded(watched)} == set(ALERTS)
    assert not [rule["name"] for rule in loaded(watched) if rule["state"] == "firing"]


def loaded(watched: Watched) -> list[dict[str, str]]:
    return [rule for group in watched.prometheus.get("rules")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize(
    "command",
    [
        ["check", "config", "deploy/monitoring/prometheus.yml"],
        ["test", "rules", "tests/monitoring/alerts.yml"],
    ],
    ids=" ".join,
)
def test_promtool_passes(command: list[str]) -> None:
    done = subprocess.run(["promtool", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_and_documented_and_says_what_to_do() -> None:
    tested = (ROOT / "tests" / "monitoring" / "alerts.yml").read_text("utf-8")
    documented = re.findall(r"^\| `(Fiqa\w+)` \|", (ROOT / "docs" / "operate.md").read_text("utf-8"), re.MULTILINE)
    assert documented == list(ALERTS)
    assert [name for name in ALERTS if name not in tested] == []
    assert all(set(rule["annotations"]) == {"summary", "action"} for rule in ALERTS.values())


def test_the_compose_file_lets_prometheus_find_the_workers_and_grafana_its_files() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    (found,) = job["dns_sd_configs"]
    assert found["names"] == ["worker"]
    assert services["worker"]["environment"]["FIQA_METRICS_PORT"] == str(found["port"])
    patch = yaml.safe_load((ROOT / "deploy/kubernetes/overlays/monitoring/deployment.yaml").read_text("utf-8"))
    (container,) = patch["spec"]["template"]["spec"]["containers"]
    assert [port["containerPort"] for port in container["ports"]] == [found["port"]]
    mounted = [volume.split(":") for volume in services["grafana"]["volumes"] + services["prometheus"]["volumes"]]
    sources = {source: target for source, target, *_ in mounted if source.startswith("./")}
    assert [source for source in sources if not (ROOT / source).exists()] == []
    (folder,) = yaml.safe_load((MONITORING / "grafana-dashboards.yml").read_text("utf-8"))["providers"]
    assert sources["./deploy/monitoring/dashboard.json"].startswith(folder["options"]["path"])
    (source,) = yaml.safe_load((MONITORING / "grafana-datasource.yml").read_text("utf-8"))["datasources"]
    assert source["url"] == "http://prometheus:9090"


def test_panels_have_their_own_ids_and_places() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places)
    assert all(x < 24 for x, _ in places)
