"""The engine: protocols of every shape, failures, replay, order, bounded window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from deepsight_core import (
    Dataset,
    Generate,
    Inbox,
    Judge,
    Judgement,
    Likelihoods,
    LogLikelihood,
    Model,
    Output,
    Record,
    Request,
    Sample,
    Steps,
    Ticket,
    assistant,
    user,
)
from deepsight_core.desk import Desk, QueuedInbox
from deepsight_core.engine import Engine, Job
from deepsight_core.errors import ConfigError, InvalidPlugin, ModelError, RunMismatch, SourceError
from deepsight_core.records import Answer, Journal, read_values
from deepsight_core.testing import KeywordJudge, ScriptedModel, TinyDataset, play


class Dialogue(Dataset):
    """Three turns, then two questions at once and three samples of one."""

    name = "dialogue"
    size: int = 6

    def samples(self) -> Iterator[Sample]:
        for number in range(self.size):
            yield Sample(id=f"d-{number}", messages=(user(f"hello {number}"),))

    def elicit(self, sample: Sample) -> Steps:
        messages = list(sample.messages)
        for turn in range(3):
            answer = yield self.ask(messages)
            messages += [assistant(answer.text), user(f"and then {turn}?")]
        left, right = yield [self.ask((user("left"),), tag="side"), self.ask((user("right"),), tag="side")]
        votes = yield Generate(messages=(user("vote"),), samples=3, temperature=1.0)
        (scores,) = yield [LogLikelihood(messages=(user("which"),), continuations=("a", "bb"))]
        return Output(text=f"{left.text}|{right.text}|{len(votes)}|{scores.values[0]}")


class Recorder(ScriptedModel):
    """Remembers what it was asked, in which batches."""

    name = "recorder"
    _batches: list[list[Generate]]

    def model_post_init(self, _: Any) -> None:
        self._batches = []

    def generate(self, requests: Sequence[Generate]) -> list[Output]:
        self._batches.append(list(requests))
        return super().generate(requests)

    @property
    def asked(self) -> list[Generate]:
        return [request for batch in self._batches for request in batch]


def evaluate(
    folder: Path, dataset: Dataset, *models: Model, judges: Sequence[Judge] = (), **options: Any
) -> list[Record]:
    folder.mkdir(exist_ok=True)
    skip = options.pop("skip", 0)
    roles = dict(zip(("target", "judge"), models, strict=False))
    with Journal(folder / "outputs.jsonl") as outputs, Journal(folder / "records.jsonl") as records:
        engine = Engine(roles, outputs, records, **options)
        engine.evaluate((Job(dataset, judges, sample) for sample in dataset.samples()), skip)
    return list(read_values(folder / "records.jsonl", Record))


def answers(folder: Path) -> dict[tuple[int, str], Answer]:
    return {(a.n, a.step): a for a in read_values(folder / "outputs.jsonl", Answer)}


def test_records_come_in_the_order_of_the_data(tmp_path: Path) -> None:
    records = evaluate(tmp_path, TinyDataset(size=50), ScriptedModel(), window=7)
    assert [record.id for record in records] == [f"tiny-{number}" for number in range(50)]


def test_requests_of_many_samples_reach_the_model_together(tmp_path: Path) -> None:
    model = Recorder()
    evaluate(tmp_path, TinyDataset(size=40), model, window=20)
    assert [len(batch) for batch in model._batches] == [20, 20]


def test_a_protocol_of_many_shapes_is_driven_to_its_end(tmp_path: Path) -> None:
    records = evaluate(tmp_path, Dialogue(), ScriptedModel())
    assert {record.output.text for record in records} == {"you said: left|you said: right|3|-1.0"}
    assert [len(record.transcript) for record in records] == [9] * 6  # 3 turns, 2 sides, 3 votes, 1 score
    assert [reply.text for reply in records[0].replies("side") if isinstance(reply, Output)] == [
        "you said: left",
        "you said: right",
    ]


def test_a_single_question_leaves_no_redundant_transcript(tmp_path: Path) -> None:
    assert all(record.transcript == () for record in evaluate(tmp_path, TinyDataset(), ScriptedModel()))


def test_sampled_requests_get_distinct_seeds_that_do_not_change(tmp_path: Path) -> None:
    seeds = []
    for attempt in ("a", "b"):
        model = Recorder()
        evaluate(tmp_path / attempt, Dialogue(), model, window=1 if attempt == "a" else 6)
        seeds.append(sorted(request.seed or 0 for request in model.asked if request.temperature))
    assert seeds[0] == seeds[1]
    assert len(set(seeds[0])) == 18


def test_the_seed_of_the_run_moves_every_seed_and_zero_is_a_seed(tmp_path: Path) -> None:
    def seeds(seed: int) -> set[int | None]:
        model = Recorder()
        evaluate(tmp_path / str(seed), Dialogue(), model, seed=seed)
        return {request.seed for request in model.asked if request.temperature}

    assert not seeds(0) & seeds(1)


def test_a_protocol_can_be_played_by_hand() -> None:
    script = ["one", "two", "three", "l", "r", "v", "v", "v", Likelihoods(values=(-2.0, -3.0), tokens=(1, 1))]
    played = play(Dialogue().elicit(next(Dialogue().samples())), script)
    assert played.result.text == "l|r|3|-2.0"
    assert len(played.requests) == 9


def test_a_failed_request_makes_the_record_unscored_and_the_rest_go_on(tmp_path: Path) -> None:
    model = ScriptedModel(errors=("question 3",))
    records = evaluate(tmp_path, TinyDataset(), model, judges=[KeywordJudge()])
    failed = records[3]
    assert failed.output.error == "scripted failure"
    assert failed.judgements[0].status == "failed"
    assert [r.judgements[0].status for r in records if r is not failed] == ["scored"] * 7
    assert not any(answer.n == 3 for answer in answers(tmp_path).values())


def test_one_of_several_parallel_requests_failing_ends_the_record_once(tmp_path: Path) -> None:
    records = evaluate(tmp_path, Dialogue(size=3), ScriptedModel(errors=("left",)), judges=[KeywordJudge()])
    assert [record.output.error for record in records] == ["scripted failure"] * 3
    assert [len(record.judgements) for record in records] == [1] * 3


def test_an_answer_withheld_by_a_filter_is_judged_by_nobody(tmp_path: Path) -> None:
    class Filtered(ScriptedModel):
        def generate(self, requests: Sequence[Generate]) -> list[Output]:
            return [Output(text="", stop="filter") for _ in requests]

    records = evaluate(tmp_path, TinyDataset(size=1), Filtered(), judges=[KeywordJudge()])
    assert records[0].judgements[0].status == "failed"
    assert "filter" in records[0].judgements[0].reason


class Raising(TinyDataset):
    def elicit(self, sample: Sample) -> Steps:
        answer: Output = yield self.ask(sample.messages)
        if sample.id == "tiny-1":
            raise KeyError("missing")
        return answer


def test_a_protocol_that_raises_costs_its_own_record_only(tmp_path: Path) -> None:
    records = evaluate(tmp_path, Raising(size=3), ScriptedModel())
    assert [record.output.error is None for record in records] == [True, False, True]
    assert "KeyError" in (records[1].output.error or "")


class AskingJudge(Judge):
    """Asks the judge's model twice."""

    name = "asking"
    roles = ("judge",)

    def judge(self, record: Record) -> Any:
        first = yield Generate(messages=(user(f"bad? {record.output.text}"),), role="judge")
        second = yield Generate(messages=(user(f"sure? {first.text}"),), role="judge")
        return Judgement(judge=self.name, label=second.text)


def test_a_judge_may_be_a_program_that_asks_another_model(tmp_path: Path) -> None:
    target, judge = Recorder(), Recorder()
    records = evaluate(tmp_path, TinyDataset(size=4), target, judge, judges=[AskingJudge(), KeywordJudge()])
    assert len(target.asked) == 4 and len(judge.asked) == 8
    assert records[0].judgements[0].label == "you said: sure? you said: bad? you said: question 0"
    assert records[0].judgements[1].label == "complied"


def test_an_unbound_role_is_an_error_and_never_falls_back_to_the_target(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="role 'judge'"):
        evaluate(tmp_path, TinyDataset(size=1), ScriptedModel(), judges=[AskingJudge()])


def test_two_roles_on_one_model_share_it(tmp_path: Path) -> None:
    model = Recorder()
    evaluate(tmp_path, TinyDataset(size=4), model, model, judges=[AskingJudge()])
    assert len(model.asked) == 12


def test_a_judge_that_raises_or_returns_nonsense_leaves_the_record_unscored(tmp_path: Path) -> None:
    class Wild(Judge):
        name = "wild"

        def judge(self, record: Record) -> Judgement:
            if record.id == "tiny-0":
                raise ValueError("no idea")
            return "refused"  # type: ignore[return-value]

    records = evaluate(tmp_path, TinyDataset(size=2), ScriptedModel(), judges=[Wild()])
    assert [record.judgements[0].status for record in records] == ["failed", "failed"]
    assert "no idea" in records[0].judgements[0].reason
    assert "instead of a Judgement" in records[1].judgements[0].reason


def test_a_verdict_goes_by_the_name_of_the_judge_that_was_asked(tmp_path: Path) -> None:
    class Alias(KeywordJudge):
        name = "alias"

        def judge(self, record: Record) -> Judgement:
            return Judgement(judge="somebody else", label="refused")

    records = evaluate(tmp_path, TinyDataset(size=1), ScriptedModel(), judges=[Alias()])
    assert records[0].judgement("alias") is not None


def test_a_judge_program_that_fails_costs_its_verdict_only(tmp_path: Path) -> None:
    class Fragile(Judge):
        name = "fragile"
        roles = ("judge",)

        def judge(self, record: Record) -> Any:
            try:
                answer = yield Generate(messages=(user("bad?"),), role="judge")
            except:  # noqa: E722  # even one that cannot be closed
                answer = yield Generate(messages=(user("again?"),), role="judge")
            raise SourceError(f"no rubric {answer.text}")

    records = evaluate(tmp_path, TinyDataset(size=3), ScriptedModel(), ScriptedModel(), judges=[Fragile()])
    assert ["no rubric" in record.judgements[0].reason for record in records] == [True] * 3
    failing = ScriptedModel(errors=("bad?",))
    records = evaluate(tmp_path / "b", TinyDataset(size=3), ScriptedModel(), failing, judges=[Fragile()])
    assert [record.judgements[0].reason for record in records] == ["scripted failure"] * 3


def test_answers_that_arrived_before_an_adapter_broke_are_on_disk(tmp_path: Path) -> None:
    class Late(Model):
        name = "late"

        def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Any]]:
            for ticket, _ in inbox.take(5):
                yield ticket, Output(text="x")
            raise RuntimeError("gone")

    with pytest.raises(ModelError, match="gone"):
        evaluate(tmp_path, TinyDataset(size=8), Late())
    assert len(answers(tmp_path)) == 5


def test_every_thread_that_waits_on_an_inbox_is_told_when_it_closes() -> None:
    import threading

    inbox = QueuedInbox()
    threads = [threading.Thread(target=inbox.take, args=(1,), daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    inbox.close()
    for thread in threads:
        thread.join(timeout=5)
    assert not any(thread.is_alive() for thread in threads)


def test_an_adapter_that_is_cancelled_or_replies_nonsense_is_reported(tmp_path: Path) -> None:
    import asyncio

    class Cancelled(Model):
        name = "cancelled"

        def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Any]]:
            raise asyncio.CancelledError

    class Nothing(Model):
        name = "nothing"

        def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Any]]:
            yield inbox.take(1)[0][0], None

    with pytest.raises(ModelError, match="CancelledError"):
        evaluate(tmp_path / "a", TinyDataset(), Cancelled())
    with pytest.raises(ModelError, match="replied None"):
        evaluate(tmp_path / "b", TinyDataset(), Nothing())


def test_a_likelihood_of_nothing_and_odd_characters_survive_the_disk(tmp_path: Path) -> None:
    class Odd(ScriptedModel):
        def generate(self, requests: Sequence[Generate]) -> list[Output]:
            return [Output(text="a\ud800b") for _ in requests]

        def loglikelihood(self, requests: Sequence[LogLikelihood]) -> list[Likelihoods]:
            return [Likelihoods(values=(float("-inf"), -1.0), tokens=(1, 1)) for _ in requests]

    class Both(TinyDataset):
        def elicit(self, sample: Sample) -> Steps:
            yield LogLikelihood(messages=sample.messages, continuations=("a", "b"))
            output: Output = yield self.ask(sample.messages)
            return output

    (record,) = evaluate(tmp_path, Both(size=1), Odd())
    scores = record.transcript[0].reply
    assert isinstance(scores, Likelihoods) and scores.values == (float("-inf"), -1.0)
    assert record.output.text == "a?b"


def test_a_protocol_that_is_no_generator_is_refused(tmp_path: Path) -> None:
    class NotOne(TinyDataset):
        def elicit(self, sample: Sample) -> Steps:
            return Output(text="made up")  # type: ignore[return-value]

    with pytest.raises(InvalidPlugin, match="must yield"):
        evaluate(tmp_path, NotOne(), ScriptedModel())


class Crash(Model):
    """Breaks at the given request."""

    name = "crash"
    at: int = 5
    capabilities: ClassVar[Any] = frozenset({"text", "loglikelihood"})

    def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Any]]:
        served = 0
        model = ScriptedModel()
        while batch := inbox.take(1):
            ticket, request = batch[0]
            if served == self.at:
                raise RuntimeError("out of memory")
            served += 1
            reply = model.generate([request]) if isinstance(request, Generate) else model.loglikelihood([request])
            yield ticket, reply[0]


@pytest.mark.parametrize("at", [0, 1, 7, 20, 41, 53])
def test_a_run_that_breaks_anywhere_resumes_without_asking_anything_twice(tmp_path: Path, at: int) -> None:
    whole = evaluate(tmp_path / "whole", Dialogue(), ScriptedModel(), judges=[KeywordJudge()], window=3)
    broken = tmp_path / "broken"
    with pytest.raises(ModelError, match="out of memory"):
        evaluate(broken, Dialogue(), Crash(at=at), judges=[KeywordJudge()], window=3)
    before = answers(broken)
    done = len(list(read_values(broken / "records.jsonl", Record)))
    model = Recorder()
    resumed = evaluate(
        broken, Dialogue(), model, judges=[KeywordJudge()], window=3, skip=done,
        answers={key: answer for key, answer in before.items() if key[0] >= done},
    )  # fmt: skip
    assert resumed == whole
    lines = list(read_values(broken / "outputs.jsonl", Answer))
    assert len({(a.n, a.step) for a in lines}) == len(lines) == 6 * 9


def test_a_replayed_protocol_that_asks_something_else_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        evaluate(tmp_path, Dialogue(), Crash(at=4), window=1)
    with pytest.raises(RunMismatch, match="asks something else"):
        evaluate(tmp_path, Dialogue(max_tokens=3), ScriptedModel(), answers=answers(tmp_path))


def test_a_long_dialogue_replays_without_recursion(tmp_path: Path) -> None:
    class Long(TinyDataset):
        def elicit(self, sample: Sample) -> Steps:
            for turn in range(3000):
                answer: Output = yield self.ask((user(f"turn {turn}"),))
            return answer

    evaluate(tmp_path, Long(size=1), ScriptedModel())
    (tmp_path / "records.jsonl").unlink()
    model = Recorder()
    evaluate(tmp_path, Long(size=1), model, answers=answers(tmp_path))
    assert model.asked == []


def test_a_model_that_answers_twice_or_not_at_all_is_reported(tmp_path: Path) -> None:
    class Double(Model):
        name = "double"

        def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Any]]:
            while batch := inbox.take(1):
                yield batch[0][0], Output(text="a")
                yield batch[0][0], Output(text="b")

    class Lazy(Model):
        name = "lazy"

        def stream(self, inbox: Inbox) -> Iterator[tuple[Ticket, Any]]:
            inbox.take(100)
            return iter(())

    with pytest.raises(ModelError, match="ticket"):
        evaluate(tmp_path / "a", TinyDataset(), Double())
    with pytest.raises(ModelError, match="ended without answering"):
        evaluate(tmp_path / "b", TinyDataset(), Lazy())


def test_an_inbox_tops_up_without_waiting_and_ends_with_an_empty_take() -> None:
    inbox = QueuedInbox()
    request: Request = Generate(messages=(user("x"),))
    inbox.put([(1, request), (2, request), (3, request)])
    assert [ticket for ticket, _ in inbox.take(2)] == [1, 2]
    assert [ticket for ticket, _ in inbox.take(5, wait=False)] == [3]
    assert inbox.take(5, wait=False) == []
    inbox.close()
    assert inbox.take(5) == []


def test_no_thread_outlives_an_evaluation(tmp_path: Path) -> None:
    import threading

    before = threading.active_count()
    evaluate(tmp_path, TinyDataset(), ScriptedModel())
    assert threading.active_count() == before
    Desk({"target": ScriptedModel()}).close(wait=True)
    assert threading.active_count() == before
