"""Whole runs: from a run file to records and report, killed and resumed, and with everything that users get wrong."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deepsight_core import Output, Record, Sample, Steps, run, user
from deepsight_core.config import configure, load, override
from deepsight_core.errors import (
    CapabilityError,
    ConfigError,
    CorruptRecords,
    DiskFull,
    RunExists,
    RunLocked,
    RunMismatch,
    UnknownComponent,
)
from deepsight_core.hub import Hub
from deepsight_core.progress import Progress
from deepsight_core.records import Journal, RunDirectory
from deepsight_core.secrets import scrub
from deepsight_core.session import Run, execute, resume
from deepsight_core.testing import ScriptedModel, TinyDataset

ROOT = Path(__file__).parent.parent
TINY = {"name": "tiny", "size": 8}


def table(out: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "r",
        "out": str(out),
        "roles": {"target": {"model": "scripted", "script": {"question 0": "sorry", "question 2": ""}}},
        "evaluate": [{"dataset": dict(TINY), "metrics": ["refused-share"]}],
        "reports": [],
        **changes,
    }


def start(hub: Hub, out: Path, *assignments: str, **changes: Any) -> Run:
    return execute(configure(override(table(out, **changes), assignments)), hub, Progress(quiet=True))


def test_a_run_measures_with_counts_groups_and_bounds(hub: Hub, out: Path) -> None:
    report = start(hub, out).report
    whole, harmless, harmful = report.measurements
    assert (whole.group, harmless.group, harmful.group) == ("all", "harmful=false", "harmful=true")
    assert (whole.count, whole.unscored, whole.clusters, whole.method) == (7, 1, 4, "cluster bootstrap")
    assert whole.value == pytest.approx(1 / 7)
    assert (whole.worst, whole.best) == (pytest.approx(1 / 8), pytest.approx(2 / 8))
    assert (harmful.count, harmful.unscored, harmful.method) == (3, 1, "wilson")
    assert report.counts["records"] == 8 and report.counts["unscored"] == 1


def test_the_manifest_suffices_to_make_the_run_again(hub: Hub, out: Path) -> None:
    first = start(hub, out)
    again = load(first.path / "manifest.json")
    again["name"] = "again"
    second = execute(configure(again), hub, Progress(quiet=True))
    assert list(second.records()) == list(first.records())
    assert second.manifest.data == first.manifest.data and second.manifest.models == first.manifest.models


def test_the_manifest_is_on_disk_before_the_first_request(hub: Hub, out: Path) -> None:
    class Nosy(ScriptedModel):
        name = "nosy"

        def generate(self, requests: Any) -> Any:
            assert (out / "r" / "manifest.json").is_file()
            return super().generate(requests)

    hub.adopt(Nosy)
    run = start(hub, out, roles={"target": {"model": "nosy"}})
    assert all(record.output.error is None for record in run.records())


def test_the_python_function_takes_names_tables_and_objects(hub: Hub, out: Path) -> None:
    made = run(
        "scripted", [TinyDataset(size=4), {"name": "tiny-2", "size": 2}], hub=_with_tiny_2(hub), out=out, quiet=True
    )
    assert [record.id for record in made.records()] == ["tiny-0", "tiny-1", "tiny-2", "tiny-3", "tiny-0", "tiny-1"]


def _with_tiny_2(hub: Hub) -> Hub:
    class Second(TinyDataset):
        name = "tiny-2"

    hub.adopt(Second)
    return hub


def test_limit_takes_whole_groups_and_a_smaller_one_is_part_of_a_larger_one(hub: Hub, out: Path) -> None:
    chosen = {}
    for limit in (4, 10, 39):
        made = start(hub, out, "evaluate.dataset.size=40", f"evaluate.dataset.limit={limit}", f"name=l{limit}")
        chosen[limit] = {record.id for record in made.records()}
        assert len(chosen[limit]) == limit - limit % 2
        assert f"{limit - limit % 2} of 40" in made.report.notes[0]
    assert chosen[4] < chosen[10] < chosen[39]
    numbers = sorted(int(id.split("-")[1]) for id in chosen[10])
    assert numbers != list(range(10)), "a draw, not the head of the file"


def test_epochs_repeat_every_sample_in_one_cluster(hub: Hub, out: Path) -> None:
    made = start(hub, out, "evaluate.dataset.epochs=3")
    assert [record.epoch for record in made.records()] == [0] * 8 + [1] * 8 + [2] * 8
    assert made.report.measurements[0].clusters == 4


def test_epochs_of_a_benchmark_whose_samples_stand_alone_are_not_taken_for_independent(hub: Hub, out: Path) -> None:
    harmful = start(hub, out, "evaluate.dataset.epochs=2").report.measurements[2]
    assert harmful.method == "cluster bootstrap"


# --- Kill and resume ------------------------------------------------------------------------------

SLOW = """
import time
from deepsight_core import hookimpl, Metric, Output, assistant, user
from deepsight_core.testing import KeywordJudge, ScriptedModel, TinyDataset

class Slow(ScriptedModel):
    name = "slow"
    def stream(self, inbox):
        while batch := inbox.take(2):
            time.sleep(0.01)
            for (ticket, _), output in zip(batch, self.generate([request for _, request in batch])):
                with open({log!r}, "a") as log:
                    log.write(batch[0][1].messages[-1].text + "\\n")
                yield ticket, output

class Turns(TinyDataset):
    name = "turns"
    def elicit(self, sample):
        messages = list(sample.messages)
        for turn in range(4):
            answer = yield self.ask(messages)
            messages += [assistant(answer.text), user(f"{{sample.id}} turn {{turn}}")]
        return answer

class Refused(Metric):
    name = "refused"
    def per_record(self, record): return float(record.judgements[0].label == "refused")

@hookimpl
def deepsight_models(): return [Slow]
@hookimpl
def deepsight_datasets(): return [Turns]
@hookimpl
def deepsight_judges(): return [KeywordJudge]
@hookimpl
def deepsight_metrics(): return [Refused]
"""

RUN_FILE = """
name = "r"
out = {out!r}
reports = []
window = 8
[roles]
target = {{ model = "slow" }}
[[evaluate]]
dataset = {{ name = "turns", size = 30 }}
metrics = ["refused"]
"""


def deepsight(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    # A shell's background jobs ignore Ctrl-C, and so would what they start: here it is to be heard wherever tests run.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from deepsight_core.cli import main; sys.exit(main())"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, **options,
    )  # fmt: skip


def prepare(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Plugin file, run file and log of questions, in a folder."""
    tmp_path.mkdir(exist_ok=True)
    plugin, file, log = tmp_path / "slow.py", tmp_path / "run.toml", tmp_path / "asked.log"
    plugin.write_text(SLOW.format(log=str(log)))
    file.write_text(RUN_FILE.format(out=str(tmp_path)))
    return plugin, file, log


def finished(process: subprocess.Popen[str]) -> str:
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return output


def test_a_process_killed_at_any_moment_resumes_to_the_same_records_and_asks_nothing_twice(tmp_path: Path) -> None:
    plugin, file, _ = prepare(tmp_path / "whole")
    finished(deepsight("run", file, "--plugin", plugin))
    whole = list(RunDirectory(tmp_path / "whole" / "r").records())
    assert len(whole) == 30

    plugin, file, log = prepare(tmp_path / "killed")
    directory = RunDirectory(tmp_path / "killed" / "r")
    for lines in (1, 30, 70):  # answers on disk when the process is killed
        process = deepsight(*(("resume", directory.path) if lines > 1 else ("run", file)), "--plugin", plugin)
        deadline = time.monotonic() + 60
        while _lines(directory.outputs_file) < lines and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    finished(deepsight("resume", directory.path, "--plugin", plugin))
    assert list(directory.records()) == whole
    answers = [(a["n"], a["step"]) for a in map(json.loads, directory.outputs_file.read_text().splitlines())]
    assert len(answers) == len(set(answers)) == 120
    assert _lines(log) <= 120 + 3 * 8, "at most the questions in flight are asked again"
    assert (directory.path / "report.json").is_file()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_ctrl_c_stops_cleanly_and_says_how_to_resume(tmp_path: Path) -> None:
    plugin, file, _ = prepare(tmp_path)
    process = deepsight("run", file, "--plugin", plugin)
    while _lines(tmp_path / "r" / "outputs.jsonl") < 10 and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"deepsight resume {tmp_path / 'r'}" in errors and "Traceback" not in errors


def test_two_processes_on_one_run_directory_are_kept_apart(hub: Hub, out: Path) -> None:
    made = start(hub, out)
    with RunDirectory(made.path).locked(), pytest.raises(RunLocked, match="another process"):
        resume(made.path, hub, Progress(quiet=True))


def test_resuming_a_finished_run_asks_nothing(hub: Hub, out: Path) -> None:
    made = start(hub, out)
    before = (made.path / "outputs.jsonl").read_bytes()
    resume(made.path, hub, Progress(quiet=True))
    assert (made.path / "outputs.jsonl").read_bytes() == before


def test_a_run_is_never_overwritten(hub: Hub, out: Path) -> None:
    start(hub, out)
    with pytest.raises(RunExists, match="deepsight resume"):
        start(hub, out)


def test_resuming_with_another_model_or_other_data_is_refused(hub: Hub, out: Path) -> None:
    made = start(hub, out)
    manifest = json.loads((made.path / "manifest.json").read_text())
    for change, message in (("roles", "model in role 'target'"), ("evaluate", "dataset 'tiny'")):
        altered = json.loads(json.dumps(manifest))
        if change == "roles":
            altered["config"]["roles"]["target"]["script"] = {}
        else:
            altered["config"]["evaluate"][0]["dataset"]["size"] = 4
        (made.path / "manifest.json").write_text(json.dumps(altered))
        with pytest.raises(RunMismatch, match=message):
            resume(made.path, hub, Progress(quiet=True))


# --- Torn, corrupt and full -----------------------------------------------------------------------


def test_a_torn_last_line_is_dropped(hub: Hub, out: Path) -> None:
    made = start(hub, out)
    whole = list(made.records())
    lines = (made.path / "records.jsonl").read_bytes().splitlines(keepends=True)
    (made.path / "records.jsonl").write_bytes(b"".join(lines[:5]) + lines[5][:40])
    resume(made.path, hub, Progress(quiet=True))
    assert list(made.records()) == whole


def test_corruption_in_the_middle_is_an_error_that_names_the_line_and_touches_nothing(hub: Hub, out: Path) -> None:
    made = start(hub, out)
    lines = (made.path / "records.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = b"\0" * 40 + b"\n"
    (made.path / "records.jsonl").write_bytes(b"".join(lines))
    with pytest.raises(CorruptRecords, match=r"records\.jsonl, line 3"):
        resume(made.path, hub, Progress(quiet=True))
    assert (made.path / "records.jsonl").read_bytes() == b"".join(lines)


def test_a_full_disk_stops_the_run_with_one_message_and_loses_nothing(tmp_path: Path) -> None:
    plugin, file, _ = prepare(tmp_path)
    process = deepsight(
        "run", file, "--plugin", plugin, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "no space left" in errors and f"`deepsight resume {tmp_path / 'r'}`" in errors and "Traceback" not in errors
    answered = _lines(tmp_path / "r" / "outputs.jsonl")
    assert answered > 5
    finished(deepsight("resume", tmp_path / "r", "--plugin", plugin))
    assert _lines(tmp_path / "r" / "outputs.jsonl") == 120
    assert len(list(RunDirectory(tmp_path / "r").records())) == 30


def test_a_device_that_is_full_is_reported_as_such() -> None:
    journal = Journal(Path("/dev/full"))
    with pytest.raises(DiskFull, match="Free space, then `deepsight resume"):
        journal.append([Output(text="x")])
    with pytest.raises(DiskFull):
        journal.close()


# --- What users get wrong -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("assignments", "error", "message"),
    [
        (["roles.target.scrpt=1"], ConfigError, "model 'scripted': unknown option 'scrpt' .did you mean 'script'"),
        (["roles.target.model=scriptd"], UnknownComponent, "no model named 'scriptd'; did you mean 'scripted'"),
        (["evaluate.dataset.size=many"], ConfigError, "option 'size'"),
        (["evaluate.dataset.limit=0"], ConfigError, "option 'limit'"),
        (["evaluate.dataset.limit=1"], ConfigError, "limit=1 is smaller than its first group of 2"),
        (["evaluate.dataset.size=0"], Exception, "is empty"),
        (["evaluate.judges=['keyword', 'xyz']"], UnknownComponent, "no judge named 'xyz'"),
        (["roles={}"], ConfigError, "role 'target', which is not bound"),
        (["sed=3"], ConfigError, "unknown entry 'sed'"),
        (["evaluate.0.datset='x'"], ConfigError, "unknown entry 'evaluate.0.datset'"),
        (["evaluate.5.dataset='x'"], ConfigError, "there is no entry 5; the list has 1"),
        (["no-equals-sign"], ConfigError, "write path=value"),
        (["evaluate=[]"], ConfigError, "nothing to do"),
        (["diagnose=[{diagnostic='nothing'}]"], UnknownComponent, "no diagnostic named 'nothing'"),
    ],
)
def test_a_mistake_in_a_run_file_is_one_clear_message(
    hub: Hub, out: Path, assignments: list[str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        start(hub, out, *assignments)
    assert not (out / "r").exists(), "a run that never began leaves nothing behind"


def test_a_capability_that_the_target_lacks_is_named(hub: Hub, out: Path) -> None:
    class Pictures(TinyDataset):
        name = "pictures"
        needs = ("text", "image")

    hub.adopt(Pictures)
    with pytest.raises(CapabilityError, match="'pictures' needs a target with capability 'image'"):
        start(hub, out, "evaluate.dataset.name=pictures")


def test_repeated_sample_ids_are_refused_by_name(hub: Hub, out: Path) -> None:
    class Twice(TinyDataset):
        name = "twice"

        def samples(self) -> Any:
            yield from super().samples()
            yield next(super().samples())

    hub.adopt(Twice)
    with pytest.raises(ConfigError, match="sample id 'tiny-0' occurs 2 times"):
        start(hub, out, "evaluate.dataset.name=twice")


def test_the_command_line_reports_an_error_in_one_line_without_a_traceback(tmp_path: Path) -> None:
    process = deepsight("run", tmp_path / "absent.toml")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("deepsight: cannot read run file") and errors.count("\n") == 1


def test_an_option_that_may_be_a_secret_is_not_repeated_in_the_message(hub: Hub, out: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        start(hub, out, "roles.target.api_key=sk-123456789")
    assert "sk-123456789" not in str(caught.value)


def test_secrets_of_the_environment_reach_no_file(hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = 'sk-"very"-secret-value'
    monkeypatch.setenv("SOME_API_KEY", secret)
    made = start(hub, out, roles={"target": {"model": "scripted", "script": {"question 1": f"the key is {secret}"}}})
    for file in made.path.iterdir():
        assert "very" not in file.read_text(), file
    records: list[Record] = list(made.records())
    assert records[1].output.text == "the key is [secret]"


# --- What a review found --------------------------------------------------------------------------


def test_a_second_process_does_not_touch_a_run_that_another_has_only_begun(hub: Hub, out: Path) -> None:
    (out / "r").mkdir(parents=True)
    with RunDirectory(out / "r").locked():
        with pytest.raises(RunLocked):
            start(hub, out)
        assert (out / "r").exists()
    assert not (out / "r").exists(), "it never began"


def test_two_roles_on_equal_models_load_it_once(hub: Hub, out: Path) -> None:
    opened = []

    class Counted(ScriptedModel):
        name = "counted"
        _state: object = None

        def open(self) -> None:
            opened.append(self)
            self._state = object()

    hub.adopt(Counted)
    start(hub, out, roles={"target": {"model": "counted"}, "judge": {"model": "counted"}})
    assert len(opened) == 1


def test_a_judge_that_is_listed_twice_is_refused(hub: Hub, out: Path) -> None:
    with pytest.raises(ConfigError, match="lists judge 'keyword' twice"):
        start(hub, out, "evaluate.judges=[{name='keyword', word='a'}, {name='keyword', word='b'}]")


def test_values_that_look_like_dates_or_numbers_stay_text_where_text_is_wanted(hub: Hub, out: Path) -> None:
    class Named(ScriptedModel):
        name = "named"
        revision: str = ""

    hub.adopt(Named)
    for text in ("2024-08-06", "1234567"):
        made = start(hub, out, "roles.target={model='named'}", f"roles.target.revision={text}", f"name=r{text}")
        target: Any = made.manifest.models["target"]
        assert target["options"]["revision"] == text


def test_an_assignment_into_a_plain_value_is_a_clear_error(hub: Hub, out: Path) -> None:
    with pytest.raises(ConfigError, match="nothing to enter at 'x'"):
        start(hub, out, "seed=3", "seed.x=1")


def test_a_secret_that_is_a_number_or_a_common_word_damages_no_record(
    hub: Hub, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Talk(TinyDataset):
        name = "talk"

        def elicit(self, sample: Sample) -> Steps:
            first: Output = yield self.ask(sample.messages)
            last: Output = yield self.ask((user(first.text),))
            return last

    class Timed(ScriptedModel):
        name = "timed"

        def generate(self, requests: Any) -> list[Output]:
            return [one.model_copy(update={"seconds": 0.123456789}) for one in super().generate(requests)]

    hub.adopt(Talk, Timed)
    monkeypatch.setenv("SOME_TOKEN", "23456789")
    monkeypatch.setenv("DB_PASS", "question")
    evaluate = [{"dataset": "talk", "metrics": []}]
    made = start(hub, out, roles={"target": {"model": "timed"}}, evaluate=evaluate)
    whole = list(made.records())
    assert whole[0].output.text == "you said: you said: [secret] 0" and whole[0].output.seconds == 0.123456789
    (made.path / "records.jsonl").unlink()  # so that every program is replayed
    resume(made.path, hub, Progress(quiet=True))
    assert list(made.records()) == whole


def test_the_password_in_an_address_is_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://me:sesame99@host/db")
    assert scrub("it is sesame99") == "it is [secret]"


def test_a_blocked_or_broken_reporter_costs_no_run(hub: Hub, out: Path, caplog: pytest.LogCaptureFixture) -> None:
    from deepsight_core.discovery import Catalogue, Offer

    hub.catalogue = Catalogue((Offer("reporter", "absent", "module_that_is_not_there", "fake", "1.0"),))
    assert start(hub, out, reports=None).report.counts["records"] == 8
    assert "module_that_is_not_there" in caplog.text
