"""Opening, identity and closing of a checkpoint, and the errors that say what to do."""

from __future__ import annotations

import gc
import json
import os
import shutil
import subprocess
import sys
import weakref

import numpy as np
import pytest
import torch
from deepsight_transformers import TransformersModel
from deepsight_transformers.digest import checksum
from deepsight_transformers.network import Network

from deepsight_core.errors import ConfigError, ModelError
from deepsight_core.inside import Keep, Last, MeanTokens, Prompt, Span, Want
from deepsight_core.protocol import Generate, system, user


def digest(path, **options) -> str:
    with TransformersModel(id=str(path), **options).opened() as model:
        return model.digest()


def test_the_digest_tells_apart_whatever_changes_answers_and_nothing_else(saved, tmp_path):
    copy = shutil.copytree(saved(), tmp_path / "copy")
    assert digest(saved()) == digest(copy, token_budget=99, threads=1)
    others = [
        digest(saved(seed=1)),
        digest(copy, dtype="bfloat16"),
        digest(copy, template="plain"),
        digest(copy, template="{{ messages[0].content }}"),
        digest(copy, template_options={"enable_thinking": False}),
        digest(copy, reasoning_markers=(("<a>", "</a>"),)),
    ]
    config = json.loads((copy / "generation_config.json").read_text())
    (copy / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": 2}))
    assert len({digest(saved()), digest(copy), *others}) == 2 + len(others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_the_checksum_sees_a_change_of_any_one_value_and_an_exchange_of_two(dtype):
    tensor = torch.arange(11 * 7).reshape(11, 7).to(dtype)
    changed, exchanged = tensor.clone(), tensor.clone()
    changed[10, 6] = 0
    exchanged[[0, 10]] = tensor[[10, 0]]
    assert len({checksum(tensor), checksum(changed), checksum(exchanged)}) == 3
    assert checksum(tensor.T.contiguous().T) == checksum(tensor)


def test_an_adapter_is_merged_and_changes_answers_and_digest(saved, tmp_path):
    peft = pytest.importorskip("peft")
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(AutoModelForCausalLM.from_pretrained(saved()), config).save_pretrained(tmp_path / "adapter")
    options = {"id": str(saved()), "adapter": str(tmp_path / "adapter")}
    request = [Generate(messages=(user("Hi"),), max_tokens=24)]
    with TransformersModel(**options).opened() as adapted, TransformersModel(id=str(saved())).opened() as plain:
        assert type(adapted._session.model) is type(plain._session.model)
        assert adapted.digest() != plain.digest()
        assert adapted.generate(request)[0].text != plain.generate(request)[0].text


def test_closing_gives_the_weights_back(saved):
    model = TransformersModel(id=str(saved()), threads=1)
    with model.opened():
        weights = weakref.ref(model._session.model)
    gc.collect()
    assert weights() is None
    with pytest.raises(ModelError, match="not open"):
        model.digest()
    model.close()


def test_threads_are_set_while_the_model_is_open_only(saved):
    before = torch.get_num_threads()
    with TransformersModel(id=str(saved()), threads=before + 1).opened():
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_a_model_without_a_chat_template_needs_a_choice(saved):
    base = str(saved("gpt2", template=None))
    with pytest.raises(ConfigError, match='template = "plain"'):
        TransformersModel(id=base).open()
    with TransformersModel(id=base, template="plain").opened() as model:
        output = model.generate([Generate(messages=(user("Hi"),), max_tokens=4)])[0]
        assert output.tokens_in == 2
        assert output.error is None


def test_captures_ride_on_generation_and_equal_those_of_a_pass_of_their_own(model, saved):
    prompts = [Prompt(id=text, messages=(user(text),)) for text in ("Hi", "Hello there", "a b a b a b")]
    wants = [Want(site="resid_out"), Want(site="attn_out", positions=Last(k=3))]
    inside = model.inside()
    with inside.ride(wants, prompts):
        model.generate([Generate(messages=prompt.messages, max_tokens=8) for prompt in prompts])
    ridden = inside.run(wants, prompts)
    assert set(ridden.captured) == {"ridden"}
    assert inside is model.inside()
    with TransformersModel(id=str(saved())).opened() as other:
        computed = other.inside().run(wants, prompts)
    for want in wants:
        np.testing.assert_allclose(ridden[want], computed[want], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", [Last(), Span(name="user")])
def test_captures_ride_where_prompts_share_a_beginning_that_is_read_once(model, saved, monkeypatch, positions):
    rules = system("be kind to one another " * 2)
    prompts = [Prompt(id=str(n), messages=(rules, user(f"how {'very ' * (n % 3)}odd {n}"))) for n in range(12)]
    want = Want(positions=positions, reduce=Keep() if positions == Last() else MeanTokens())
    asked = [Generate(messages=prompt.messages, max_tokens=4) for prompt in prompts]
    expected = model.generate(asked)
    shared = []
    read = Network.read
    monkeypatch.setattr(Network, "read", lambda self, texts, count=0: shared.append(count) or read(self, texts, count))
    inside = model.inside()
    with inside.ride([want], prompts):
        outputs = model.generate(asked)
    assert max(shared) > 40, "the system prompt was read once for those that are worth it"
    assert [output.text for output in outputs] == [output.text for output in expected]
    ridden = inside.run([want], prompts)
    assert set(ridden.captured) == {"ridden"}
    with TransformersModel(id=str(saved())).opened() as other:
        np.testing.assert_allclose(ridden[want], other.inside().run([want], prompts)[want], rtol=1e-4, atol=1e-5)


def test_a_folder_without_a_model_and_an_unknown_device_are_named(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match="empty"):
        TransformersModel(id=str(tmp_path / "empty")).open()
    with pytest.raises(ConfigError, match="device 'abacus'"):
        TransformersModel(id=str(saved()), device="abacus").open()
    with pytest.raises(ConfigError, match="neither"):
        TransformersModel(id=str(saved()), template="no-such-file.jinja").open()


def test_a_checkpoint_without_its_weights_is_incomplete(saved, tmp_path):
    half = shutil.copytree(saved(), tmp_path / "half")
    (half / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="incomplete"):
        TransformersModel(id=str(half)).open()


def test_an_encoder_is_not_taken_for_a_causal_model(saved, tmp_path):
    from transformers import T5Config

    folder = shutil.copytree(saved(), tmp_path / "t5")
    T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2).save_pretrained(folder)
    with pytest.raises(ConfigError, match="not a causal language model"):
        TransformersModel(id=str(folder)).open()


def test_a_hub_id_that_is_not_here_says_that_the_hub_cannot_be_reached():
    script = (
        "from deepsight_transformers import TransformersModel\n"
        "from deepsight_core.errors import ConfigError\n"
        "try: TransformersModel(id='nobody/nothing').open()\n"
        "except ConfigError as error: print(error)\n"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1"}
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=offline, check=True)
    assert "'nobody/nothing' is neither a folder nor in the local cache" in said.stdout


def test_two_places_for_the_weights_are_refused():
    with pytest.raises(ValueError, match="give one of them"):
        TransformersModel(id="x", device="cpu", device_map="auto")


def test_naming_the_plugin_imports_nothing_heavy():
    script = "import sys, deepsight_transformers as d; d.TransformersModel(id='x'); print('torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "False"
