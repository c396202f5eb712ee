"""The manifests, offline: valid for Kubernetes, true to the settings, and no more trusting than they must be."""

from __future__ import annotations

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import replayer
from replayer.cli import COMMANDS
from replayer.serve.routes import OPERATIONS
from replayer.settings import load, variable
from replayer.settings.table import Settings
from replayer.variables import CONFIG

ROOT = Path(replayer.__file__).parents[1]
FILES = sorted((ROOT / "k8s").glob("*.yaml"))
VERSIONS = ("1.30", kubernetes_validate.latest_version())
TOKENS = '[{"name": "ann", "role": "admin", "sha256": "' + 64 * "0" + '"}]'


def documents():
    return [
        pytest.param(document, id=f"{document['kind']}-{document['metadata']['name']}")
        for file in FILES
        if file.name != "kustomization.yaml"
        for document in yaml.safe_load_all(file.read_text())
    ]


def of_kind(*kinds):
    return [parameter.values[0] for parameter in documents() if parameter.values[0]["kind"] in kinds]


WORKLOADS = [
    pytest.param(workload, id=workload["metadata"]["name"]) for workload in of_kind("StatefulSet", "Deployment")
]


def test_nothing_is_left_out():
    assert {workload.id for workload in WORKLOADS} == {"replayer-worker", "replayer-investigator"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("document", documents())
def test_kubernetes_accepts_it(document, version):
    kubernetes_validate.validate(document, version, strict=True)


def test_the_validation_can_fail():
    broken = of_kind("StatefulSet")[0] | {"spec": {"replicas": "two"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("directory", ["k8s", "k8s/example"])
def test_kustomize_finds_its_files_and_every_file_is_listed_or_said_to_be_optional(directory):
    text = (ROOT / directory / "kustomization.yaml").read_text()
    listed = yaml.safe_load(text)["resources"]
    assert all((ROOT / directory / name).exists() for name in listed)
    for file in (ROOT / directory).glob("*.yaml"):
        assert file.name == "kustomization.yaml" or file.name in text


def test_the_example_patches_what_is_there():
    example = yaml.safe_load((ROOT / "k8s/example/kustomization.yaml").read_text())
    names = {(document["kind"], document["metadata"]["name"]) for document in (p.values[0] for p in documents())}
    for patch in example["patches"]:
        target = yaml.safe_load(patch["patch"])
        assert (target["kind"], target["metadata"]["name"]) in names
        assert_settings(target["data"])
    images = {container(workload.values[0])["image"].split(":")[0] for workload in WORKLOADS}
    assert {image["name"] for image in example["images"]} == images


def container(workload):
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    return only


def config():
    (only,) = of_kind("ConfigMap")
    return only["data"]


def assert_settings(names):
    known = {variable(name) for name in Settings.model_fields} | {CONFIG.name}
    assert {name for name in names if name.startswith("REPLAYER_")} <= known


@pytest.mark.parametrize("workload", WORKLOADS)
def test_its_environment_is_made_of_settings_and_loads(workload, monkeypatch, tmp_path):
    import os

    for name in [name for name in os.environ if name.startswith("REPLAYER_")]:
        monkeypatch.delenv(name)
    given = {entry["name"]: entry.get("value", "10.0.0.7") for entry in container(workload)["env"]}
    assert_settings(given | config())
    pods = {"$(POD_NAME)": "replayer-worker-0", "$(POD_IP)": "10.0.0.7"}
    for name, value in (config() | given).items():
        for reference, pod in pods.items():
            value = value.replace(reference, pod)
        assert "$(" not in value
        monkeypatch.setenv(name, value)
    mounted = {mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert str(Path(given["REPLAYER_TOKENS_FILE"]).parent) in mounted
    assert given["REPLAYER_DATA_DIR"] in mounted

    (tmp_path / "tokens.json").write_text(TOKENS)
    monkeypatch.setenv("REPLAYER_TOKENS_FILE", str(tmp_path / "tokens.json"))
    settings = load()
    assert settings.web_host == "0.0.0.0"
    assert settings.broker is None, "which cluster is for an overlay to say"
    grace = workload["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > settings.stop_grace_s + 5
    assert settings.web_port == container(workload)["ports"][0]["containerPort"]


def test_workers_reach_each_other_by_the_headless_service():
    (worker,) = of_kind("StatefulSet")
    headless = next(service for service in of_kind("Service") if service["spec"].get("clusterIP") == "None")
    url = next(entry["value"] for entry in container(worker)["env"] if entry["name"] == "REPLAYER_WEB_URL")
    port = headless["spec"]["ports"][0]["port"]
    assert worker["spec"]["serviceName"] == headless["metadata"]["name"]
    assert url == f"http://$(POD_NAME).{headless['metadata']['name']}:{port}"
    assert headless["spec"]["publishNotReadyAddresses"], "a worker that is rebalancing must still be asked"


@pytest.mark.parametrize("workload", WORKLOADS)
def test_it_runs_a_command_that_exists_and_is_probed_where_something_answers(workload):
    words = [entry[0] for entry in COMMANDS]
    assert " ".join(container(workload)["args"]) in words
    paths = {operation.path for operation in OPERATIONS}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container(workload)[probe]["httpGet"]["path"] in paths
    assert container(workload)["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert container(workload)["readinessProbe"]["httpGet"]["path"] == "/readyz"


@pytest.mark.parametrize("workload", WORKLOADS)
def test_it_is_trusted_with_as_little_as_possible(workload):
    pod, its = workload["spec"]["template"]["spec"], container(workload)
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False, "variables of services would pass for settings"
    assert its["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "/tmp" in {mount["mountPath"] for mount in its["volumeMounts"]}, "the root file system is read-only"
    assert "memory" in its["resources"]["limits"]
    assert {"cpu", "memory"} <= its["resources"]["requests"].keys()


def test_selectors_select():
    labels = {w.values[0]["metadata"]["name"]: w.values[0]["spec"]["template"]["metadata"]["labels"] for w in WORKLOADS}
    for workload in WORKLOADS:
        selector = workload.values[0]["spec"]["selector"]["matchLabels"]
        assert selector.items() <= labels[workload.id].items()
    for service in of_kind("Service"):
        assert service["spec"]["selector"].items() <= labels["replayer-worker"].items()
    for budget in of_kind("PodDisruptionBudget"):
        assert budget["spec"]["selector"]["matchLabels"].items() <= labels["replayer-worker"].items()


def test_no_secret_is_in_the_files():
    assert not of_kind("Secret")
    for workload in WORKLOADS:
        names = {entry["name"] for entry in container(workload.values[0])["env"]} | set(config())
        assert not [name for name in names if "PASSWORD" in name or name == "REPLAYER_TOKENS"]
