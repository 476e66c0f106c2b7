"""What runs a virtual device's modules: processes with and without file trees, and containers."""

from __future__ import annotations

import functools
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from azure_devices import eventually
from hypothesis import given
from hypothesis import strategies as st

from edgectl.api import ProviderError
from edgectl.emulation.registry import Access, RegistryFault, RegistryServer
from edgectl.emulation.registry.access import Passwords
from edgectl_azure_iot_edge.emulator.edge.box import can_box
from edgectl_azure_iot_edge.emulator.edge.cliengine import CliEngine, works
from edgectl_azure_iot_edge.emulator.edge.containers import (
    Engine,
    EngineError,
    Making,
    Premises,
)
from edgectl_azure_iot_edge.emulator.edge.engines import choose_engine
from edgectl_azure_iot_edge.emulator.edge.faults import FaultFile
from edgectl_azure_iot_edge.emulator.edge.images import Images
from edgectl_azure_iot_edge.emulator.edge.messages import MessageStore
from edgectl_azure_iot_edge.emulator.edge.mixed import MixedEngine
from edgectl_azure_iot_edge.emulator.edge.options import OptionsError, parse_options
from edgectl_azure_iot_edge.emulator.edge.processes import ProcessEngine
from edgectl_azure_iot_edge.emulator.edge.pulling import Puller, PullError
from edgectl_azure_iot_edge.emulator.edge.pulls import Pulls, PullsError
from edgectl_azure_iot_edge.emulator.edge.records import Credential, ModuleSpec
from edgectl_azure_iot_edge.emulator.edge.references import is_loopback, parse_reference
from edgectl_azure_iot_edge.emulator.edge.routes import Delivery, Endpoint
from edgectl_azure_iot_edge.emulator.images import ImageContent, Pusher

BUSYBOX = Path("/bin/busybox")
PODMAN = ("podman", "--runtime", "runc")
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000")
NEVER = threading.Event()


class Bench:
    """An engine with its images, without a hub or an agent."""

    def __init__(self, folder: Path, registry: RegistryServer) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.registry = registry
        self.ended = threading.Event()
        self.images = Images(folder / "images", Puller(None, FaultFile(folder)), FaultFile(folder))

    def engine(self, make: Callable[[Premises], Engine]) -> Engine:
        return make(
            Premises(
                folder=self.folder / "modules",
                root=self.root,
                images=self.images,
                faults=FaultFile(self.folder),
                changed=self.ended.set,
            )
        )

    def making(self, content: ImageContent, options: dict[str, Any] | None = None) -> Making:
        Pusher(self.registry.url, "app").push(content, "1")
        name = f"{self.registry.host}/app:1"
        text = json.dumps(options or {})
        return Making(
            spec=ModuleSpec(name="app", image=name, create_options=text),
            image=self.images.pull(name, (), NEVER),
            options=parse_options(text),
            env={"IOTEDGE_MODULEID": "app"},
        )


@pytest.fixture
def bench(tmp_path: Path, registry: RegistryServer) -> Bench:
    return Bench(tmp_path / "device", registry)


@pytest.fixture
def podman(bench: Bench) -> Iterator[Engine]:
    if shutil.which(PODMAN[0]) is None or works(PODMAN):
        pytest.skip("podman is missing or does not work: apt-get install podman runc")
    engine = bench.engine(functools.partial(CliEngine, PODMAN, extra=LIMITS))
    yield engine
    engine.remove("app")
    images = ("images", "--quiet", "localhost/edgectl-device")
    for image in subprocess.run([*PODMAN, *images], capture_output=True, check=True).stdout.split():
        subprocess.run([*PODMAN, "rmi", image], capture_output=True, check=False)


def sh(script: str, **files: bytes) -> ImageContent:
    return ImageContent(files=files, config={"Entrypoint": ["sh", "-c"], "Cmd": [script]})


def busybox(script: str) -> ImageContent:
    if not BUSYBOX.exists():
        pytest.skip("busybox is missing: apt-get install busybox-static")
    return ImageContent(
        files={"bin/busybox!": BUSYBOX.read_bytes(), "etc/whoami": b"the image\n"},
        config={"Entrypoint": ["/bin/busybox", "sh", "-c"], "Cmd": [script]},
        platforms=("amd64", "arm64"),
    )


def log(engine: Engine, wanted: str) -> str:
    return str(eventually(lambda: (text := engine.log("app").decode()) and wanted in text and text))


def test_without_file_trees_paths_of_binds_are_replaced(bench: Bench) -> None:
    engine = bench.engine(functools.partial(ProcessEngine, boxed=False))
    (bench.root / "etc/app").mkdir(parents=True)
    (bench.root / "etc/app/app.toml").write_text('state = "/var/lib/app/x"\n')
    script = "cat /etc/app/app.toml; echo $PLACE; echo hello > /var/lib/app/x"
    options = {
        "Env": ["PLACE=/etc/app/app.toml"],
        "HostConfig": {"Binds": ["/etc/app:/etc/app:ro", "/var/lib/app:/var/lib/app"]},
    }
    engine.create(bench.making(sh(script), options))
    engine.start("app")
    assert bench.ended.wait(20)
    assert (bench.root / "var/lib/app/x").read_text() == "hello\n"
    text = engine.log("app").decode()
    assert f'state = "{bench.root}/var/lib/app/x"' in text
    assert "replaced" in engine.describe()


@pytest.mark.skipif(not can_box(), reason="this user may have no namespaces")
def test_an_image_with_its_own_programs_runs_in_its_own_files(bench: Bench) -> None:
    engine = bench.engine(ProcessEngine)
    script = "cat /etc/whoami; echo mine > /etc/whoami; /bin/busybox ls /usr || echo bare"
    engine.create(bench.making(busybox(script)))
    engine.start("app")
    assert "bare" in log(engine, "bare")
    assert engine.log("app").decode().startswith("the image\n")
    assert bench.ended.wait(20)
    bench.ended.clear()
    engine.start("app")  # the container's own files are kept between its starts
    assert bench.ended.wait(20)
    assert "mine\n" in engine.log("app").decode()


@pytest.mark.skipif(not can_box(), reason="this user may have no namespaces")
def test_a_port_is_forwarded_to_the_module_and_is_there_once(bench: Bench) -> None:
    engine = bench.engine(ProcessEngine)
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
        probe.close()
        bindings = {f"{server.getsockname()[1]}/tcp": [{"HostPort": str(free)}]}
        options = {"HostConfig": {"PortBindings": bindings}}
        engine.create(bench.making(sh("exec sleep 1000"), options))
        engine.start("app")
        with socket.create_connection(("127.0.0.1", free)) as client:
            answering, _ = server.accept()
            client.sendall(b"ping")
            assert answering.recv(4) == b"ping"
            answering.close()
        engine.stop("app")
        taken = pytest.raises(EngineError, match="port is already allocated")
        with socket.create_server(("127.0.0.1", free)), taken:
            engine.start("app")


def test_what_a_killed_device_left_running_is_ended_and_told(bench: Bench) -> None:
    first = bench.engine(ProcessEngine)
    first.create(bench.making(sh("echo $$; exec sleep 1000")))
    first.start("app")
    pid = int(log(first, "\n"))
    again = bench.engine(ProcessEngine)
    container = again.containers()["app"]
    assert (container.state, container.exit_code) == ("exited", 137)
    eventually(lambda: not Path(f"/proc/{pid}/cmdline").exists() or _is_dead(pid))


def _is_dead(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[-1].split()[0] == "Z"


def test_an_engine_refuses_as_docker_does(bench: Bench) -> None:
    engine = bench.engine(ProcessEngine)
    with pytest.raises(EngineError, match="No such container"):
        engine.start("app")
    with pytest.raises(EngineError, match="No command specified"):
        engine.create(bench.making(ImageContent()))
    mount = {"Type": "bind", "Source": "/nowhere", "Target": "/x"}
    with pytest.raises(EngineError, match="does not exist"):
        engine.create(bench.making(sh("true"), {"HostConfig": {"Mounts": [mount]}}))
    engine.create(bench.making(sh("true")))
    with pytest.raises(EngineError, match="already in use"):
        engine.create(bench.making(sh("true")))
    engine.remove("app")
    engine.create(bench.making(ImageContent(config={"Entrypoint": ["/no/such/program"]})))
    if not can_box():
        with pytest.raises(EngineError):
            engine.start("app")
        return
    engine.start("app")
    assert bench.ended.wait(20)
    assert engine.containers()["app"].exit_code == 127


@pytest.mark.parametrize(
    "host",
    [{"Binds": ["nothing"]}, {"Binds": ["a:b"]}, {"PortBindings": {"x/tcp": [{"HostPort": "1"}]}}],
)
def test_options_that_docker_would_refuse_are_refused(host: dict[str, Any]) -> None:
    with pytest.raises(OptionsError):
        parse_options(json.dumps({"HostConfig": host}))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("localhost:5000/a/b:1", ("localhost:5000", "a/b", "1")),
        ("r.example/a@sha256:" + "0" * 64, ("r.example", "a", "sha256:" + "0" * 64)),
        ("r.example:443/team/app", ("r.example:443", "team/app", "latest")),
    ],
)
def test_an_image_s_name_is_read_as_docker_reads_it(
    image: str, expected: tuple[str, str, str]
) -> None:
    found = parse_reference(image)
    assert (found.host, found.repository, found.wanted) == expected


def test_what_is_no_name_of_an_image_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid reference format"):
        parse_reference("Not An Image")
    with pytest.raises(ValueError, match="names no registry"):
        parse_reference("team/app:2")
    assert [is_loopback(h) for h in ("localhost:1", "127.0.0.1", "[::1]:2", "r.io")] == [
        True,
        True,
        True,
        False,
    ]


def test_a_pull_that_breaks_is_told_and_the_next_one_goes_on(bench: Bench) -> None:
    content = sh("true", **{"opt/large": b"x" * 200_000})
    Pusher(bench.registry.url, "app").push(content, "1")
    name = f"{bench.registry.host}/app:1"
    bench.registry.faults.add(RegistryFault(status=429, path="/v2/app/manifests"))
    with pytest.raises(PullError, match="toomanyrequests"):
        bench.images.pull(name, (), NEVER)
    found = bench.images.pull(name, (), NEVER)
    assert bench.images.get(name) == found
    assert (
        Images(
            bench.folder / "images", Puller(None, FaultFile(bench.folder)), FaultFile(bench.folder)
        ).get(name)
        == found
    )


def test_a_registry_with_accounts_gives_an_image_to_its_credentials_only(
    tmp_path: Path,
) -> None:
    access = Access(Passwords({"edge": "secret"}))
    with RegistryServer(tmp_path / "private", access=access) as private:
        faults = FaultFile(tmp_path)
        images = Images(tmp_path / "images", Puller(None, faults), faults)
        with pytest.raises(PullError, match="pull access denied"):
            images.pull(f"{private.host}/app:1", (), NEVER)
        wrong = Credential(address=private.host, username="edge", password="x")
        with pytest.raises(PullError, match="pull access denied"):
            images.pull(f"{private.host}/app:1", (wrong,), NEVER)
        right = Credential(address=private.host, username="edge", password="secret")
        with pytest.raises(PullError, match="not found"):
            images.pull(f"{private.host}/app:1", (right,), NEVER)


@pytest.mark.slow
def test_a_module_is_a_container_of_podman(bench: Bench, podman: Engine) -> None:
    script = "cat /etc/whoami; env; cat /data/file; trap 'exit 0' TERM; while :; do sleep 1; done"
    (bench.root / "data").mkdir(parents=True)
    (bench.root / "data/file").write_text("of the device\n")
    options = {"HostConfig": {"Binds": ["/data:/data:ro"]}, "Env": ["OWN=1"]}
    podman.create(bench.making(busybox(script.replace("cat", "busybox cat")), options))
    assert podman.containers()["app"].state == "created"
    podman.start("app")
    text = log(podman, "of the device")
    assert "the image\n" in text
    assert "OWN=1" in text
    assert podman.containers()["app"].state == "running"
    before = time.time()
    podman.stop("app")
    found = podman.containers()["app"]
    assert found.state == "exited"
    assert found.exited_at <= before + 60
    assert bench.ended.wait(20)


@pytest.mark.slow
def test_an_image_that_is_not_whole_runs_as_a_process_beside_containers(
    bench: Bench, podman: Engine
) -> None:
    engine = bench.engine(lambda premises: MixedEngine(podman, premises))
    engine.create(bench.making(sh("echo of the machine")))
    engine.start("app")
    assert bench.ended.wait(20)
    assert engine.log("app") == b"of the machine\n"
    assert podman.containers() == {}
    engine.remove("app")
    engine.create(bench.making(busybox("echo of the image; exec busybox sleep 1000")))
    engine.start("app")
    log(engine, "of the image")
    assert engine.containers()["app"].state == "running"
    assert list(podman.containers()) == ["app"]
    engine.stop("app", 0.0)
    assert engine.containers()["app"].state == "exited"


def test_an_image_that_is_never_pulled_has_to_be_there(bench: Bench) -> None:
    pulls = Pulls(bench.images)
    making = bench.making(sh("true"))
    there = msgspec.structs.replace(making.spec, pull_policy="never")
    assert pulls.get(there, ()) == making.image
    absent = msgspec.structs.replace(there, image=f"{bench.registry.host}/other:1")
    with pytest.raises(PullsError, match="No such image"):
        pulls.get(absent, ())
    pulls.stop()


def test_an_engine_that_is_not_there_is_told() -> None:
    with pytest.raises(ProviderError, match="'no-such-engine' is not installed"):
        choose_engine("no-such-engine")
    assert choose_engine("process") is ProcessEngine


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 9)), max_size=12),
    st.integers(0, 10),
)
def test_messages_leave_by_priority_then_as_they_came_and_never_late(
    sent: list[tuple[int, int]], now: int
) -> None:
    store = MessageStore(Path(":memory:"))
    for number, (priority, ttl_s) in enumerate(sent):
        delivery = Delivery(endpoint=Endpoint(), priority=priority, ttl_s=ttl_s)
        store.add((delivery,), "app", "", str(number).encode(), 0.0)
    left: list[int] = []
    while batch := store.next("$upstream", now, 2):
        left += [int(queued.payload) for queued in batch]
        store.done([queued.number for queued in batch])
    alive = [(p, n) for n, (p, ttl_s) in enumerate(sent) if ttl_s > now]
    assert left == [number for _, number in sorted(alive)]
    store.clean(now)
    assert store.lengths() == {}
    store.close()
