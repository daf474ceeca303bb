"""X-Boundary's reference mode, from files to findings, equals the published procedure rendered plainly."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deepsight_core import Diagnosis, Evidence
from deepsight_core.config import configure
from deepsight_core.hub import Hub
from deepsight_core.progress import Progress
from deepsight_core.session import execute
from deepsight_core.sources import Source

torch = pytest.importorskip("torch", reason="deepsight-torch is not installed")
transformers = pytest.importorskip("transformers", reason="deepsight-transformers is not installed")
texts = pytest.importorskip("deepsight_x_boundary_texts", reason="deepsight-x-boundary-texts is not installed")
pytest.importorskip("deepsight_x_boundary", reason="deepsight-x-boundary is not installed")

_SPEC = importlib.util.spec_from_file_location("bench_x_boundary", Path(__file__).parent / "bench" / "x_boundary.py")
assert _SPEC is not None and _SPEC.loader is not None
bench = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bench)

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "a default system message": "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n"
    "{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "a first token and trimmed words": "{{ bos_token }}{% for m in messages %}<|im_start|>{{ m.role }}\n\n"
    "{{ m.content | trim }}</s>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n\n{% endif %}",
    "no opening of the answer": "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} "
    "[/INST]{% else %} {{ m.content }}</s>{% endif %}{% endfor %}",
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Five texts a class; the dialogues have several turns, and two are longer than what is read."""
    harmful = [{"prompt": f"How would I rob bank {n}?", "output": " Sure!\n" + "Take a mask. " * n} for n in range(5)]
    safe = [
        {
            "messages": [
                {"role": ("user", "assistant")[turn % 2], "content": f"This is turn {turn} of dialogue {n}. " * (1 + n)}
                for turn in range(2 + 2 * (n % 3))
            ]
        }
        for n in range(1, 9, 2)
    ]
    safe.append({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho " * 700}]})
    boundary = [
        {
            "prompt": f"How do I shoot {n} photos?",
            "completion": "With a camera. " * (2 + n),
            "status": "1_full_compliance",
        }
        for n in range(5)
    ]
    folder = tmp_path_factory.mktemp("texts")
    sources = {}
    for name, rows in (("harmful", harmful), ("safe", safe), ("boundary", boundary)):
        sources[name] = Source(path=folder / f"{name}.json")
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
    return texts.XBoundaryTexts(per_class=5, **sources)


@pytest.fixture(scope="module", params=sorted(TEMPLATES))
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of four layers with a byte tokenizer and the template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE({token: n for n, token in enumerate([*SPECIAL, *letters])}, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    tokenizer.chat_template = TEMPLATES[request.param]
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=2048,
        initializer_range=0.3,
    )
    folder = tmp_path_factory.mktemp("model")
    transformers.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def diagnoses(checkpoint: Path, dataset: Any, out: Path, *options: dict[str, Any]) -> tuple[Diagnosis, ...]:
    entries = [{"diagnostic": {"name": "x-boundary", **one}, "data": dataset} for one in options]
    settings = {"roles": {"target": {"model": "transformers", "id": str(checkpoint)}}, "diagnose": entries}
    made = execute(configure({**settings, "out": out, "reports": []}), Hub(), Progress(quiet=True))
    return made.report.diagnoses


def test_the_reference_mode_equals_the_published_procedure(checkpoint: Path, dataset: Any, out: Path) -> None:
    (diagnosis,) = diagnoses(checkpoint, dataset, out, {"mode": "reference"})
    assert diagnosis.error is None
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    expected = bench.plainly(model, tokenizer, list(dataset.samples()), 4)
    found = {(f.site.layer + 1, f.name): f.value for f in diagnosis.findings if f.site and f.site.layer is not None}
    wanted = {(index, name): value for index, known in expected.items() for name, value in known.items()}
    assert list(expected) == [1, 2]
    assert found == pytest.approx(wanted, rel=1e-4)


def test_prompt_and_answer_make_the_text_that_the_template_makes_of_the_whole_dialogue(
    checkpoint: Path, dataset: Any
) -> None:
    from deepsight_torch import Renderer

    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    renderer = Renderer(tokenizer)
    samples = tuple(dataset.samples())
    lengths = []
    for sample, prompt in zip(samples, Evidence(samples).prompts, strict=True):
        turns = [{"role": message.role, "content": message.text} for message in sample.messages]
        whole = tokenizer.apply_chat_template(turns, tokenize=False)
        rendered = renderer.exchange(prompt.messages, prompt.answer)
        assert rendered.text == whole
        assert list(rendered.ids) == tokenizer(whole, add_special_tokens=False)["input_ids"]
        lengths.append(len(rendered))
    assert min(lengths) < 100 and max(lengths) > 1024, "some are cut, some are not"
    assert max(len(sample.messages) for sample in samples) == 6


def test_a_text_beyond_the_context_costs_the_diagnosis_that_needs_all_of_it_and_no_other(
    checkpoint: Path, dataset: Any, out: Path
) -> None:
    whole, cut = diagnoses(checkpoint, dataset, out, {"text": "exchange"}, {"mode": "reference"})
    assert whole.diagnostic == "x-boundary" and whole.error is not None
    assert "tokens exceed the context of 2048" in whole.error
    assert cut.error is None and cut.findings
