"""nas.parallel on a toy pipeline whose stages behave like ours: epochs, checkpoints, outputs written whole."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from conftest import ENVIRONMENT, ROOT
from ruamel.yaml import YAML

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}  # before Ray is imported
pytest.importorskip("ray", reason="Ray is not installed: pip install .[cluster]")

from dvc.repo import Repo  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from nas.cluster import (
    parallel,  # noqa: E402
    worker,  # noqa: E402
)
from nas.pipeline.errors import UserError  # noqa: E402

pytestmark = pytest.mark.slow

ENVIRONMENT = ENVIRONMENT | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
NODE = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
EPOCH = 0.1  # seconds
PATIENCE = 180  # seconds; on busy cores all takes its time

PIPELINE = """
stages:
  prepare:
    cmd: python toy.py prepare 1
    deps: [toy.py]
    outs: [prepared]
  train:
    matrix: {name: [a, b, c]}
    cmd: python toy.py ${item.name} ${epochs} prepared
    params: [epochs]
    meta: {cpus: 1, gpus: 1, memory: 0.01}
    deps: [toy.py, prepared]
    outs:
      - models/${item.name}
    metrics:
      - results/${item.name}: {cache: false}
  summary:
    cmd: python toy.py summary 1 results/a results/b results/c
    deps: [toy.py, results/a, results/b, results/c]
    outs: [summary]
"""

# NAME EPOCHS INPUT…; fails while a file fail-NAME stands, stays in epoch N while hold-NAME-N does; events.log is told
# each start, epoch and end.
TOY = f"""
import os, sys, time
from pathlib import Path

name, epochs, inputs = sys.argv[1], int(sys.argv[2]), sys.argv[3:]

def tell(what):
    with open("events.log", "a") as file:
        file.write(f"{{name}} {{what}} {{os.environ.get('CUDA_VISIBLE_DEVICES')}}\\n")

def write(path, text):
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{{path.name}}.{{os.getpid()}}.tmp")
    temporary.write_text(text)
    os.replace(temporary, path)

tell("start")
if Path(f"fail-{{name}}").exists():
    sys.exit(f"error: {{name}}: told to fail")
checkpoint = Path("checkpoints") / name
done = int(checkpoint.read_text()) if checkpoint.exists() else 0
for epoch in range(done, epochs):
    time.sleep({EPOCH})
    write(checkpoint, str(epoch + 1))
    tell(f"epoch-{{epoch + 1}}")
    print(f"epoch {{epoch + 1}}/{{epochs}}  loss 1", flush=True)
    while Path(f"hold-{{name}}-{{epoch + 1}}").exists():
        time.sleep(0.02)
text = " ".join([name, str(epochs), *(Path(p).read_text() for p in inputs)])
outputs = [Path(name)] if name == "summary" else [Path("prepared")] if name == "prepare" else [
    Path("models") / name, Path("results") / name]
for output in outputs:
    write(output, text)
checkpoint.unlink(missing_ok=True)
tell("end")
"""


class Toy:
    """A DVC project in `folder` with five stages: prepare, train@a to c, summary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.pipeline(gpus=1)
        (folder / "toy.py").write_text(TOY)
        (folder / "nas").symlink_to(ROOT / "nas")
        self.set(epochs=2)
        self.run("git", "init", "-q")
        Repo.init(str(folder)).close()
        shutil.copy(ROOT / ".dvc/config", folder / ".dvc/config")

    def pipeline(self, gpus: float) -> None:
        (self.folder / "dvc.yaml").write_text(PIPELINE.replace("gpus: 1", f"gpus: {gpus}"))

    def set(self, **params: object) -> None:
        (self.folder / "params.yaml").write_text(json.dumps(params))

    def hold(self, names: str, epoch: int) -> None:
        """Let the stages train@`names`, a letter each, stay in their epoch `epoch` until `release`."""
        for name in names:
            (self.folder / f"hold-{name}-{epoch}").touch()

    def release(self, names: str, epoch: int) -> None:
        for name in names:
            (self.folder / f"hold-{name}-{epoch}").unlink()

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(command, cwd=self.folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done

    def parallel(self, *options: str, check: bool = True) -> subprocess.CompletedProcess:
        return self.run(sys.executable, "-m", "nas.parallel", *options, check=check)

    def start(self, *options: str, stdout: int | None = subprocess.DEVNULL) -> subprocess.Popen:
        command = [sys.executable, "-m", "nas.parallel", *options]
        return subprocess.Popen(
            command, cwd=self.folder, env=ENVIRONMENT, stdout=stdout, stderr=stdout, text=True, start_new_session=True
        )

    def lock(self) -> dict:
        return YAML(typ="safe").load((self.folder / "dvc.lock").read_text())

    def events(self) -> list[str]:
        path = self.folder / "events.log"
        return path.read_text().splitlines() if path.exists() else []

    def told(self, name: str) -> list[str]:
        return [line.split()[1] for line in self.events() if line.split()[0] == name]

    def processes(self, of: str = "toy.py") -> list[psutil.Process]:
        """The living processes in this folder that have `of` in their command; those of the stages, unless told."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if of in process.cmdline() and process.cwd() == str(self.folder):
                    found.append(process)
        return found

    def end(self) -> None:
        """What a failed test left behind would keep the cluster's cores from the next one."""
        for of in ("nas.parallel", "nas.cluster.worker", "toy.py"):
            for process in self.processes(of):
                with suppress(psutil.Error):
                    process.kill()


def until(what: Callable[[], object], seconds: float = PATIENCE) -> object:
    """Wait until `what` gives something true, and return that."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not come about")


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    toy = Toy(tmp_path / "toy")
    yield toy
    toy.end()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a Ray cluster with room for three stages, and one GPU that is told of but not there."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"num_cpus": 3, "num_gpus": 1})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """What `dvc repro` leaves."""
    toy = Toy(tmp_path_factory.mktemp("plain") / "toy")
    toy.run("dvc", "repro")
    return toy


def test_it_leaves_the_lock_that_dvc_repro_leaves_and_nothing_to_do(toy: Toy, plain: Toy) -> None:
    output = toy.parallel("--jobs", "2").stdout
    assert toy.lock() == plain.lock()
    assert "5 done" in output
    assert "train@a: running" in output and "train@a: done" in output
    assert "Running stage" not in toy.run("dvc", "repro").stdout
    assert "epoch 2/2" in (toy.folder / "logs/parallel/train@a.log").read_text()
    before = toy.events()
    again = toy.parallel().stdout
    assert "5 cached" in again and toy.events() == before


def test_what_either_has_run_neither_runs_again(toy: Toy, address: str) -> None:
    toy.parallel("--address", address)
    toy.set(epochs=3)
    toy.run("dvc", "repro")
    before = toy.events()
    toy.set(epochs=2)
    assert "5 cached" in toy.parallel("--address", address).stdout.splitlines()[-1]
    assert "b 2 prepare 1" in (toy.folder / "models/b").read_text()
    toy.set(epochs=3)
    assert "Running stage" not in toy.run("dvc", "repro").stdout
    assert toy.events() == before


def test_a_failed_stage_stops_what_needs_it_and_the_rest_finishes(toy: Toy, address: str) -> None:
    (toy.folder / "fail-b").touch()
    done = toy.parallel("--address", address, check=False)
    assert done.returncode == 1
    assert "error: train@b: error: b: told to fail" in done.stdout
    assert "summary: skipped" in done.stdout and "3 done, 1 failed, 1 skipped" in done.stdout
    assert toy.told("summary") == []
    assert set(toy.lock()["stages"]) == {"prepare", "train@a", "train@c"}
    (toy.folder / "fail-b").unlink()
    assert "2 done, 3 cached" in toy.parallel("--address", address).stdout


def watchers(toy: Toy, name: str) -> dict[str, psutil.Process]:
    """The processes of the running stage train@`name`, from Ray's worker down to the stage's command."""
    command = next(p for p in toy.processes() if p.cmdline()[-3] == name)
    # Some shells stay between DVC and the command, others become it.
    dvc, outer = [p for p in command.parents() if "nas.cluster.worker" in p.cmdline()]
    worker = outer.parent()
    assert worker.name().startswith("ray")
    return {"worker": worker, "outer": outer, "dvc": dvc, "command": command}


def epochs_told(toy: Toy, name: str) -> list[str]:
    return [what for what in toy.told(name) if what.startswith("epoch")]


def release_when_started_again(toy: Toy, names: str, epoch: int) -> None:
    """Had the first run of the stage not been ended by then, it would go on beside the second, and be told of."""
    for name in names:
        until(lambda name=name: toy.told(name).count("start") == 2)
        toy.release(name, epoch)


def test_a_killed_stage_is_tried_again_and_goes_on_from_its_checkpoint(toy: Toy, address: str) -> None:
    toy.pipeline(gpus=0)
    toy.set(epochs=6)
    toy.hold("abc", 3)
    driver = toy.start("--address", address, stdout=subprocess.PIPE)
    until(lambda: all("epoch-3" in toy.told(name) for name in "abc"))  # side by side
    for name, who in (("a", "worker"), ("b", "dvc"), ("c", "command")):
        watchers(toy, name)[who].kill()
    release_when_started_again(toy, "abc", 3)
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    for name in "abc":
        assert f"train@{name}: waiting, killed; attempt 2 of 4" in output
        assert epochs_told(toy, name) == [f"epoch-{i + 1}" for i in range(6)]  # none twice
        assert toy.told(name).count("start") == 2
    assert "Running stage" not in toy.run("dvc", "repro").stdout


def test_a_stage_left_behind_by_all_that_watched_it_is_ended_before_it_runs_again(toy: Toy, address: str) -> None:
    toy.set(epochs=6)
    toy.hold("a", 2)
    toy.hold("a", 3)
    driver = toy.start("--address", address, "train@a")
    until(lambda: "epoch-2" in toy.told("a"))
    watching = watchers(toy, "a")
    for process in (driver, *(watching[who] for who in ("worker", "outer", "dvc"))):
        process.send_signal(signal.SIGSTOP)
    for process in (driver, *(watching[who] for who in ("worker", "outer", "dvc"))):
        process.kill()
    driver.wait()
    toy.release("a", 2)
    until(lambda: "epoch-3" in toy.told("a"))
    assert watching["command"].is_running()
    driver = toy.start("--address", address, "train@a", stdout=subprocess.PIPE)
    release_when_started_again(toy, "a", 3)
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0, output
    assert epochs_told(toy, "a") == [f"epoch-{i + 1}" for i in range(6)]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_ended_driver_leaves_nothing_behind_and_the_next_goes_on(how, toy: Toy, address: str) -> None:
    options = ("--address", address) if how == signal.SIGTERM else ("--jobs", "2")
    toy.set(epochs=6)
    toy.hold("abc", 3)
    driver = toy.start(*options, stdout=subprocess.PIPE)
    held = 1 if how == signal.SIGTERM else 2  # there is but one GPU, or room for two
    until(lambda: sum("epoch-3" in toy.told(name) for name in "abc") == held)
    driver.send_signal(how)
    output, _ = driver.communicate(timeout=PATIENCE)
    if how != signal.SIGKILL:
        assert driver.returncode == 130 and "stopping; run it again to go on" in output
        assert not toy.processes()
    started = "".join(name for name in "abc" if toy.told(name))
    toy.release("".join(set("abc") - set(started)), 3)
    driver = toy.start("--address", address, stdout=subprocess.PIPE)
    release_when_started_again(toy, started, 3)
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0 and "done" in output, output
    for name in "abc":
        # Its epochs once each and in order: what the driver left running was ended before it ran again.
        assert epochs_told(toy, name) == [f"epoch-{i + 1}" for i in range(6)]
    assert len(toy.lock()["stages"]) == 5


def test_a_node_goes_away_and_comes_back(toy: Toy) -> None:
    soon = {"_system_config": {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500}}
    cluster = Cluster(initialize_head=True, head_node_args=NODE | soon | {"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20) for _ in range(2)]
        toy.set(epochs=6)
        toy.hold("ab", 3)
        driver = toy.start("--address", cluster.address, "train@a", "train@b", stdout=subprocess.PIPE)
        until(lambda: "epoch-3" in toy.told("a") and "epoch-3" in toy.told("b"))
        for node in nodes:
            cluster.remove_node(node, allow_graceful=False)
        until(lambda: not toy.processes())
        toy.release("ab", 3)
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        output, _ = driver.communicate(timeout=PATIENCE)
    finally:
        cluster.shutdown()
    assert driver.returncode == 0, output
    for name in "ab":
        assert epochs_told(toy, name) == [f"epoch-{i + 1}" for i in range(6)]


def test_two_drivers_run_each_stage_once(toy: Toy, address: str) -> None:
    toy.set(epochs=1)
    drivers = [toy.start("--address", address, stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [driver.communicate(timeout=PATIENCE)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], outputs
    assert sorted("5 cached" in output for output in outputs) == [False, True]
    assert sum("waiting: another run has nas.parallel (process " in output for output in outputs) == 1
    for name in ("prepare", "a", "b", "c", "summary"):
        assert toy.told(name).count("start") == 1


HOLDER = """
import sys
from dvc.repo import Repo, lock_repo
with lock_repo(Repo()):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(toy: Toy) -> subprocess.Popen:
    """Another DVC process that has the repository's lock until its standard input ends."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], cwd=toy.folder, env=ENVIRONMENT, text=True, **pipes)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_it_waits_while_another_dvc_holds_the_lock(toy: Toy, address: str) -> None:
    holder = hold(toy)
    driver = toy.start("--address", address, "prepare", stdout=subprocess.PIPE)
    assert f"DVC's lock is held by process {holder.pid}" in driver.stdout.readline()
    holder.communicate("")
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 0 and "1 done" in output


def test_a_stage_waits_for_the_lock_and_for_another_dvc_that_runs_it(toy: Toy) -> None:
    toy.run("dvc", "repro", "prepare")
    toy.hold("a", 1)
    command = ["dvc", "repro", "--single-item", "train@a"]
    other = subprocess.Popen(command, cwd=toy.folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    until(lambda: "epoch-1" in toy.told("a"))
    holder = hold(toy)
    told = []
    for event in worker.follow(str(toy.folder), "train@a", 0, {"PATH": ENVIRONMENT["PATH"]}):
        told.append(event)
        if "DVC's lock is held by" in event[1]:
            holder.communicate("")
        if "is busy" in event[1]:
            toy.release("a", 1)
    assert other.wait() == 0
    states = [state for state, _ in told]
    assert any("is busy" in note for _, note in told) and states[-1] == "cached", told
    assert toy.told("a").count("start") == 1


def test_a_stage_gets_the_gpu_that_it_asks_for(toy: Toy, address: str) -> None:
    toy.set(epochs=10)  # long enough to be seen side by side
    toy.parallel("--address", address, "train@a", "train@b")
    given = {line.split()[0]: " ".join(line.split()[2:]) for line in toy.events()}
    # What asks for no GPU sees all that the node has, or none: an older Ray (2.52) hides them.
    assert given.pop("prepare") in (os.environ.get("CUDA_VISIBLE_DEVICES", "None"), "")
    assert given == {"a": "0", "b": "0"}
    order = [line.split()[:2] for line in toy.events() if line[0] in "ab" and line.split()[1] in ("start", "end")]
    assert [what for _, what in order] == ["start", "end", "start", "end"]  # there is but one


def test_meta_changes_no_lock_and_is_checked(toy: Toy, plain: Toy) -> None:
    before = plain.lock()
    plain.pipeline(gpus=0)
    assert "Running stage" not in plain.run("dvc", "repro").stdout and plain.lock() == before
    for bad in ("-1", "many", "1.5", "true"):
        toy.pipeline(gpus=bad)
        done = toy.parallel(check=False)
        assert done.returncode == 1 and done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: dvc.yaml: train@a: meta.gpus: ")


def test_no_stage_asks_for_more_than_the_largest_node_has() -> None:
    stage = parallel.Stage.of("train", [], {"cpus": 8, "gpus": 1, "memory": 0.5, "owner": "me"})
    assert parallel.fit(stage, {"CPU": 4, "memory": 1e9}) == {"num_cpus": 4, "num_gpus": 0, "memory": 0.5e9}
    assert parallel.fit(stage, {"CPU": 64, "GPU": 8, "memory": 1e9})["num_gpus"] == 1


def test_mistakes_end_in_one_line(toy: Toy) -> None:
    for options, told in (
        (["nothing"], "error: Stage 'nothing' not found"),
        (["--address", "127.0.0.1:9"], "error: --address 127.0.0.1:9: no Ray cluster answers there"),
        (["--address", "here"], "error: --address here: must be HOST:PORT"),
    ):
        done = toy.parallel(*options, check=False)
        assert done.returncode == 1 and done.stderr.startswith(told) and done.stderr.count("\n") == 1, done.stderr
    without = "import sys; sys.modules['ray'] = None; from nas.cli import main; sys.exit(main(['parallel']))"
    done = toy.run(sys.executable, "-c", without, check=False)
    assert done.returncode == 1 and done.stderr == "error: Ray is not installed; pip install 'nas-studies[cluster]'\n"


def test_a_terminal_shows_a_table_with_the_progress_until_ctrl_c(toy: Toy, address: str) -> None:
    toy.set(epochs=99)
    toy.hold("a", 3)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "nas.parallel", "--address", address, "train@a"]
    environment = ENVIRONMENT | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    driver = subprocess.Popen(command, cwd=toy.folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, interrupted = b"", False
    while True:
        try:
            if not (read := os.read(ours, 4096)):
                break
        except OSError:  # the terminal is gone
            break
        shown += read
        if re.search(rb"epoch 3/99", shown) and not interrupted:
            driver.send_signal(signal.SIGINT)
            interrupted = True
    assert driver.wait() == 130 and not toy.processes()
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())
    assert re.search(r"train@a +running +\d+:\d\d +epoch \d+/99 on ", text)
    assert "stopping; run it again to go on" in text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: that needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_fails_the_stage_and_keeps_the_lock_whole(small_disk: Path, address: str) -> None:
    toy = Toy(small_disk / "toy")
    toy.run("dvc", "repro", "train@b")
    before = toy.lock()
    toy.set(epochs=5)
    toy.hold("a", 2)
    driver = toy.start("--address", address, "train@a", stdout=subprocess.PIPE)
    until(lambda: "epoch-2" in toy.told("a"))
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    toy.release("a", 2)
    output, _ = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, output
    assert toy.lock() == before
    filler.unlink()
    assert "1 done" in toy.parallel("--address", address, "train@a").stdout


def test_dvc_writes_its_lock_file_whole_or_not_at_all(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.utils.serialize import _common, modify_yaml

    monkeypatch.setattr(_common, "_dump_data", _common._dump_data)
    worker._write_whole()
    path = toy.folder / "some.yaml"
    path.write_text("kept: 1\n")
    with pytest.raises(Exception, match="cannot represent"), modify_yaml(path) as data:
        data["long"] = ["x" * 100] * 1000
        data["bad"] = object()
    assert path.read_text() == "kept: 1\n"
    with modify_yaml(path) as data:
        data["more"] = 2
    assert path.read_text() == "kept: 1\nmore: 2\n"


@pytest.mark.parametrize("left", ["half a file", "a process of another node"])
def test_what_a_killed_dvc_left_in_its_rwlock_is_put_right(left: str, toy: Toy) -> None:
    toy.run("dvc", "repro", "prepare")
    entry = {"pid": os.getpid(), "cmd": "nas.parallel train@a"}  # alive here, but another process
    reader = {"pid": os.getpid(), "cmd": "nas.parallel summary"}
    whole = {"write": {str(toy.folder / "models/a"): entry}, "read": {str(toy.folder / "results/a"): [reader]}}
    text = json.dumps(whole)
    (toy.folder / ".dvc/tmp/rwlock").write_text(text[:30] if left == "half a file" else text)
    told = []
    for event in worker.follow(str(toy.folder), "train@a", 0, {"PATH": ENVIRONMENT["PATH"]}):
        told.append(event)
        assert "is busy" not in event[1]
    assert told[-1] == ("done", ""), told
    assert json.loads((toy.folder / ".dvc/tmp/rwlock").read_text()).get("write", {}) == {}


def test_a_node_without_the_checkout_says_so(tmp_path: Path) -> None:
    (told,) = worker.follow(str(tmp_path), "train@a", 0, {})
    assert told[0] == "failed" and f"has no checkout at {tmp_path}" in told[1]


def test_a_stage_of_several_processes_asks_for_as_many_of_each() -> None:
    stage = parallel.Stage.of("train", [], {"cpus": 2, "gpus": 1, "memory": 3, "times": 4})
    assert (stage.cpus, stage.gpus, stage.memory) == (8, 4, 12)
    assert parallel.Stage.of("train", [], {"gpus": 0.5, "times": 2}).gpus == 1
    assert parallel.Stage.of("train", [], {"times": 2}).cpus == 2
    with pytest.raises(UserError, match="meta.gpus: 1.5 is not allowed: above 1 it must be whole"):
        parallel.Stage.of("train", [], {"gpus": 0.5, "times": 3})


def test_requirements_are_numbers() -> None:
    with pytest.raises(UserError, match="meta.memory: 'much' is not allowed"):
        parallel.Stage.of("train", [], {"memory": "much"})


ALONE = """
import os, stat, subprocess, sys, time
import psutil
from nas.cluster.parallel import start_ray

os.environ["RAY_AUTH_MODE"] = "disabled"  # whatever the user's shell says
start_ray(None, 1)
import ray

path = os.environ["RAY_AUTH_TOKEN_PATH"]
print(oct(stat.S_IMODE(os.stat(path).st_mode)), path)
servers = [child for child in psutil.Process().children(recursive=True) if child.name() == "gcs_server"]
port = next(c.laddr.port for c in servers[0].net_connections("tcp") if c.status == "LISTEN")
join = f'import ray; ray.init(address="127.0.0.1:{port}", log_to_driver=False); print(len(ray.nodes()))'
ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")} | {"HOME": "/nowhere"}
for auth in ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": path}, {"RAY_AUTH_MODE": "disabled"}):
    done = subprocess.run([sys.executable, "-c", join], env=ours | auth, capture_output=True, text=True)
    print(done.returncode, done.stdout.strip())
ray.shutdown()
"""


def test_a_ray_for_this_machine_alone_takes_orders_from_its_user_alone() -> None:
    done = subprocess.run([sys.executable, "-c", ALONE], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True)
    mode, with_token, without = done.stdout.splitlines()
    assert mode.startswith("0o600 ") and not Path(mode.split()[1]).exists(), done.stderr
    assert (with_token, without.strip()) == ("0 1", "1")
