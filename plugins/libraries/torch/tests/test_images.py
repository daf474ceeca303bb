"""Image-text models: images are rendered, read and told apart from text, and the sites hold for both."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from deepsight_torch import TransformersInside
from deepsight_torch.images import ImageRenderer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3TextConfig,
    Idefics3Config,
    InternVLConfig,
    InternVLVisionConfig,
    LlamaConfig,
    LlavaConfig,
    Mistral3Config,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen3VLConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
)

from deepsight_core import Prompt, Want, assistant, system, user
from deepsight_core.edits import Ablate
from deepsight_core.errors import CapabilityError, ConfigError, DiagnosticError
from deepsight_core.inside import All, Last, MeanTokens, Span, Steps
from deepsight_core.messages import Audio, Image, Message

PIL = pytest.importorskip("PIL.Image", reason="images are read with Pillow")

SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<image>", "<boi>", "<eoi>", "<row>", "<global-img>", "<video>"]
IMAGE = SPECIAL.index("<image>")
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% for p in m.content %}{% if p.type == 'image' %}IMAGE"
    "{% else %}{{ p.text }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like those of most processors, it wants a list of parts even where there is but one."""
TEXT = {
    "vocab_size": 270,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 0,
}
EYES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
}
QWEN_EYES = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 4,
    "out_hidden_size": 32,
    "window_size": 16,
    "fullatt_block_indexes": [1],
}
QWEN3_EYES = {
    "depth": 2,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_heads": 2,
    "patch_size": 4,
    "out_hidden_size": 32,
    "deepstack_visual_indexes": [0, 1],
    "num_position_embeddings": 16,
}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}

CONFIGS: dict[str, Callable[[], Any]] = {
    "gemma3": lambda: Gemma3Config(
        text_config=Gemma3TextConfig(**TEXT, head_dim=8, sliding_window=8),
        vision_config=SiglipVisionConfig(**EYES),
        mm_tokens_per_image=4,
        image_token_index=IMAGE,
        boi_token_index=5,
        eoi_token_index=6,
    ),
    "idefics3": lambda: Idefics3Config(
        text_config=LlamaConfig(**TEXT), vision_config=EYES, image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    ),
    "internvl": lambda: InternVLConfig(
        text_config=Qwen2Config(**TEXT),
        vision_config=InternVLVisionConfig(**{**EYES, "image_size": [16, 16], "patch_size": [4, 4]}),
        image_token_id=IMAGE,
        image_seq_length=4,
    ),
    "llava": lambda: LlavaConfig(
        text_config=LlamaConfig(**TEXT), vision_config=CLIPVisionConfig(**EYES), image_token_index=IMAGE
    ),
    "mistral3": lambda: Mistral3Config(
        text_config=MistralConfig(**TEXT),
        vision_config=PixtralVisionConfig(**EYES, head_dim=8),
        image_token_index=IMAGE,
    ),
    "qwen2.5-vl": lambda: Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": ROPE},
        vision_config=QWEN_EYES,
        image_token_id=IMAGE,
        vision_start_token_id=5,
        vision_end_token_id=6,
        video_token_id=9,
    ),
    "qwen3-vl": lambda: Qwen3VLConfig(
        text_config={**TEXT, "head_dim": 8, "rope_parameters": {**ROPE, "mrope_interleaved": True}},
        vision_config=QWEN3_EYES,
        image_token_id=IMAGE,
        vision_start_token_id=5,
        vision_end_token_id=6,
        video_token_id=9,
    ),
    "smolvlm": lambda: SmolVLMConfig(
        text_config=LlamaConfig(**TEXT), vision_config=EYES, image_token_id=IMAGE, scale_factor=2, pad_token_id=0
    ),
}
TOKENS = {"llava": 16}
"""Image tokens of a picture of 16 x 16 pixels; 4 in the other families."""


def tokenizer(**named: str) -> Any:
    vocabulary = {token: n for n, token in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    raw = Tokenizer(models.BPE(vocabulary, []))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>", pad_token="<s>")
    made.add_special_tokens({"additional_special_tokens": SPECIAL[2:]})
    for name, token in named.items():
        setattr(made, name, token)
        setattr(made, f"{name}_id", made.convert_tokens_to_ids(token))
    return made


def tokenizer_with_template() -> Any:
    made = tokenizer()
    made.chat_template = "{% for m in messages %}{{ m.content }}{% endfor %}"
    return made


class Processor:
    """What a processor of transformers does to a text and its images, for those that need packages of their own."""

    image_token = "<image>"

    def __init__(self, image_processor: Any, tokens: Callable[[Any, int], str], types: bool = False) -> None:
        self.image_processor, self.tokenizer = image_processor, tokenizer()
        self.tokens, self.types = tokens, types
        self.chat_template = TEMPLATE.replace("IMAGE", self.image_token)

    def __call__(self, text: list[str], images: list[Any], **options: Any) -> dict[str, Any]:
        seen = self.image_processor(images=images, return_tensors="pt")
        first, *rest = text[0].split(self.image_token)
        whole = first + "".join(self.tokens(seen, number) + piece for number, piece in enumerate(rest))
        made = {**self.tokenizer([whole], **options), **seen}
        made.pop("num_patches", None)  # of use to a processor only
        if self.types:
            made["mm_token_type_ids"] = (made["input_ids"] == IMAGE).long()
        return made


def processor(name: str) -> Any:
    import transformers

    size = {"height": 16, "width": 16}
    side = {"size": {"longest_edge": 16}, "max_image_size": {"longest_edge": 16}, "do_image_splitting": False}
    template = TEMPLATE.replace("IMAGE", "<image>")
    four = "<boi>" + 4 * "<image>" + "<eoi>"
    if name == "gemma3":
        named = tokenizer(image_token="<image>", boi_token="<boi>", eoi_token="<eoi>")
        eyes = transformers.Gemma3ImageProcessorPil(size=size)
        return transformers.Gemma3Processor(
            eyes, named, image_seq_length=4, chat_template=TEMPLATE.replace("IMAGE", "<boi>")
        )
    if name == "idefics3":
        eyes = transformers.Idefics3ImageProcessorPil(**side)
        return transformers.Idefics3Processor(eyes, tokenizer(), image_seq_len=4, chat_template=template)
    if name == "llava":
        eyes = transformers.CLIPImageProcessorPil(size=size, do_center_crop=False)
        return transformers.LlavaProcessor(
            eyes,
            tokenizer(),
            patch_size=4,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=template,
        )
    if name == "internvl":
        return Processor(transformers.GotOcr2ImageProcessorPil(size=size), lambda seen, number: four)
    if name == "mistral3":
        eyes = transformers.PixtralImageProcessorPil(size={"longest_edge": 16}, patch_size=8)
        return Processor(eyes, lambda seen, number: "<image><image><row><image><image><eoi>")
    if name == "smolvlm":
        return Processor(transformers.SmolVLMImageProcessorPil(**side), lambda seen, number: four)

    eyes = transformers.Qwen2VLImageProcessorPil(patch_size=4, min_pixels=256, max_pixels=256)

    def counted(seen: Any, number: int) -> str:
        return "<boi>" + int(seen["image_grid_thw"][number].prod()) // 4 * "<image>" + "<eoi>"

    return Processor(eyes, counted, types=True)


def build(name: str) -> Any:
    torch.manual_seed(7)
    model = AutoModelForImageTextToText.from_config(CONFIGS[name]()).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model


@cache
def opened(name: str) -> TransformersInside:
    return TransformersInside(build(name), processor(name), digest=name)


def picture(seed: int) -> Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    file = io.BytesIO()
    PIL.fromarray(pixels).save(file, "PNG")
    uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Image(uri=uri, media_type="image/png")


def asked(*parts: Any, id: str = "a", answer: str | None = None) -> Prompt:
    return Prompt(id=id, messages=(user(*parts),), answer=answer)


@pytest.fixture(params=sorted(CONFIGS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def text_of(inside: TransformersInside, ids: Any) -> str:
    return str(inside.renderer.tokenizer.decode(list(ids)))


def test_decoder_blocks_are_those_of_the_language_model(name: str) -> None:
    sites = opened(name).sites
    assert len(sites.blocks) == opened(name).geometry.layers == 3
    assert sites.layers("resid_out") == sites.layers("head") == sites.layers("neuron") == (0, 1, 2)
    assert sites.layers("vision") == (0, 1)
    assert sites.layers("projector") == (None,)
    assert sites.tap("vision", 0).width == 16


def test_tokens_of_images_and_of_words_are_told_apart(name: str) -> None:
    inside = opened(name)
    text = inside.renderer.prompt([system("Be brief."), user("Look: ", picture(1), "and ", picture(2), "What is it?")])
    count = TOKENS.get(name, 4)
    for number in (0, 1):
        span = text.places(f"image:{number}")
        assert [text.ids[place] for place in span].count(IMAGE) == count
    assert set(text.places("image")) >= {place for place, id in enumerate(text.ids) if id == IMAGE}
    assert sorted([*text.places("image"), *text.places("text")]) == list(range(len(text)))
    words = text_of(inside, [text.ids[place] for place in text.places("user")])
    assert words.startswith("Look: ") and words.endswith("What is it?")
    assert text_of(inside, text.ids[text.end_of_instruction :]) == "?<|im_end|>\n<|im_start|>assistant\n"


def test_words_after_an_image_are_a_span_of_their_own(name: str) -> None:
    inside = opened(name)
    text = inside.renderer.prompt([user(picture(1), "What is it?")])
    assert text_of(inside, [text.ids[place] for place in text.places("user")]) == "What is it?"


def test_sites_equal_what_the_model_reports_of_itself(name: str) -> None:
    inside = opened(name)
    prompt = asked(picture(1), "What is it?")
    want = Want(site="resid_out", positions=All())
    found = inside.run([want], [prompt]).each(want)[0]
    text = inside.renderer.prompt(prompt.messages)
    assert text.pictures is not None
    arguments = text.pictures.arguments(len(text), torch.device("cpu"), torch.float32)
    with torch.no_grad():
        states = inside.sites.model(
            input_ids=torch.tensor([text.ids]), **arguments, output_hidden_states=True
        ).hidden_states
    places = list(text.places("text")) if name == "qwen3-vl" else range(len(text))  # it adds features between blocks
    for layer in (0, 1):
        np.testing.assert_allclose(found[layer][places], states[layer + 1][0][places].numpy(), rtol=1e-4, atol=1e-5)


def test_the_residual_stream_adds_up_at_every_position(name: str) -> None:
    before, attention, mlp, after = (
        Want(site=site, positions=All()) for site in ("resid_in", "attn_out", "mlp_out", "resid_out")
    )
    acts = opened(name).run([before, attention, mlp, after], [asked(picture(1), "What is it?")])
    (one,), (two,), (three,), (total,) = (acts.each(want) for want in (before, attention, mlp, after))
    np.testing.assert_allclose(one + two + three, total, rtol=1e-4, atol=1e-5)


def test_another_image_changes_what_stands_at_its_tokens_and_nothing_before(name: str) -> None:
    inside = opened(name)
    want = Want(positions=All())
    prompts = [asked("Look: ", picture(seed), "What is it?", id=str(seed)) for seed in (1, 2)]
    acts = inside.run([want], prompts)
    one, other = acts.each(want)
    start = inside.renderer.prompt(prompts[0].messages).places("image:0")[0]
    np.testing.assert_array_equal(one[:, :start], other[:, :start])
    after = inside.renderer.prompt(prompts[0].messages).places("image:0")[-1] + 1
    assert (np.abs(one - other)[:, start : after + 1].max((0, 2)) > 0).all()


def test_prompts_with_and_without_images_are_read_side_by_side(name: str) -> None:
    inside = opened(name)
    prompts = [asked(f"How are you, number {n}?", id=f"t{n}") for n in range(9)]
    prompts.insert(3, asked(picture(1), "What is it?", id="p"))
    together = inside.run([Want()], prompts)
    assert together.error is not None and together.error < 1e-5
    for number in (0, 3, 8):
        alone = inside.run([Want()], [prompts[number]])
        np.testing.assert_allclose(together[Want()][number], alone[Want()][0], rtol=1e-4, atol=1e-5)


def test_an_answer_re_read_after_an_image_follows_the_prompt_as_it_was(name: str) -> None:
    inside = opened(name)
    prompt = asked(picture(1), "What is it?", answer="A cat.")
    last, steps, response = Want(), Want(positions=Steps(), text="exchange"), Span(name="response")
    acts = inside.run([last, steps], [prompt])
    assert acts.each(steps)[0].shape[1] == len("A cat.")
    np.testing.assert_allclose(acts.each(steps)[0][:, 0], acts[last][0, :, 0], rtol=1e-4, atol=1e-5)
    assert "".join(inside.read(Want(positions=response, text="exchange"), [prompt])[0]) == "A cat."
    text = inside.renderer.exchange(prompt.messages, prompt.answer)
    assert text_of(inside, text.ids[-8:]) == "A cat.<|im_end|>\n"
    assert text.pictures == inside.renderer.prompt(prompt.messages).pictures


def test_what_an_image_becomes_is_seen_at_its_tokens(name: str) -> None:
    inside = opened(name)
    where = Span(name="image")
    projected, entered = (Want(site=site, layers=(0,), positions=where) for site in ("projector", "resid_in"))
    acts = inside.run([projected, entered], [asked(picture(1), "What is it?")])
    np.testing.assert_array_equal(acts.each(projected)[0], acts.each(entered)[0])


def test_a_block_of_the_vision_tower_is_the_mean_over_its_patches(name: str) -> None:
    inside = opened(name)
    prompt = asked(picture(1), "What is it?")
    want = Want(site="vision")
    seen: list[Any] = []
    handle = inside.sites.tap("vision", 1).module.register_forward_hook(lambda m, args, output: seen.append(output))
    found = inside.run([want], [prompt])[want]
    handle.remove()
    output = seen[0][0] if isinstance(seen[0], tuple) else seen[0]
    assert found.shape == (1, 2, 1, 16)
    np.testing.assert_allclose(found[0, 1, 0], output.reshape(-1, 16).mean(0).numpy(), rtol=1e-4, atol=1e-6)


def test_a_text_after_an_image_is_read_as_if_there_had_been_none(name: str, count_hooks: Any) -> None:
    inside = opened(name)
    inside.sites.model.base_model.rope_deltas = None
    hooks = count_hooks(inside.sites.model)
    plain = asked("How are you?")
    before = inside.run([Want()], [plain])[Want()]
    inside.run([Want()], [asked(picture(1), "What is it?")])
    np.testing.assert_array_equal(inside.run([Want()], [plain])[Want()], before)
    assert inside.sites.model.base_model.rope_deltas is None
    assert count_hooks(inside.sites.model) == hooks  # transformers leaves some of its own


def test_equal_words_on_other_images_are_kept_apart(tmp_path: Any) -> None:
    inside = TransformersInside(build("llava"), processor("llava"), digest="llava", store=tmp_path)
    prompts = [asked(picture(seed), "What is it?", id=f"{seed} {n}") for n in (0, 1) for seed in (1, 2)]
    want = Want(reduce=MeanTokens(), positions=All())
    first = inside.run([want], prompts)
    assert dict(first.captured) == {"computed": 4}
    again = inside.run([want], prompts)
    assert dict(again.captured) == {"store": 4}
    np.testing.assert_array_equal(again[want], first[want])
    np.testing.assert_array_equal(first[want][0], first[want][2])
    assert not np.allclose(first[want][0], first[want][1])


def test_a_batch_with_images_stops_at_the_last_wanted_block() -> None:
    inside = opened("llava")
    ran: list[int] = []
    handle = inside.sites.blocks[2].register_forward_hook(lambda *args: ran.append(1))
    inside.run([Want(layers=(1,))], [asked(picture(1), "What is it?")])
    handle.remove()
    assert not ran


def test_attention_to_images_is_seen(name: str) -> None:
    inside = opened(name)
    weights = Want(site="attn_prob", layers=(2,))
    prompt = asked(picture(1), "What is it?")
    found = inside.run([weights], [prompt])[weights].reshape(4, -1)
    tokens = len(inside.renderer.prompt(prompt.messages))
    np.testing.assert_allclose(found[:, :tokens].sum(1), 1, rtol=1e-5)
    assert inside.sites.model.config.get_text_config()._attn_implementation == "sdpa"


def test_edits_of_a_text_with_images_are_those_of_its_words_too(name: str) -> None:
    inside = opened(name)
    prompt, all_tokens = asked(picture(1), "What is it?"), Want(positions=All(), layers=(2,))
    direction = np.random.default_rng(0).standard_normal(32)
    edited = inside.run([all_tokens], [prompt], [Ablate(site="resid_out", layers=(2,), directions=direction)])
    stream = edited.each(all_tokens)[0][0]
    assert np.abs(stream @ direction).max() < 1e-4 * np.linalg.norm(stream, axis=1).max() * np.linalg.norm(direction)


def test_a_cut_within_an_image_is_refused() -> None:
    inside = opened("llava")
    with pytest.raises(DiagnosticError, match="prompt 'a': its images reach to token"):
        inside.run([Want(truncate=10, positions=Last())], [asked(picture(1), "What is it?")])


def test_the_vision_tower_is_not_wanted_of_a_text_without_images() -> None:
    with pytest.raises(DiagnosticError, match="prompt 'a': has no image"):
        opened("llava").run([Want(site="vision")], [asked("How are you?")])
    with pytest.raises(DiagnosticError, match="prompt 'a': has no tokens at span image"):
        opened("llava").run([Want(site="projector", positions=Span(name="image"))], [asked("How are you?")])


def test_a_model_opened_with_its_tokenizer_reads_no_images() -> None:
    inside = TransformersInside(build("llava"), tokenizer_with_template(), digest="llava")
    with pytest.raises(DiagnosticError, match="no site vision: no image was shown"):
        inside.run([Want(site="vision")], [asked("How are you?")])
    with pytest.raises(CapabilityError, match="reads text only, but a message holds image/png"):
        inside.run([Want()], [asked(picture(1), "What is it?")])


def test_what_cannot_be_shown_is_refused() -> None:
    renderer = opened("llava").renderer
    sound = Audio(uri="data:audio/wav;base64,", media_type="audio/wav")
    broken = Image(uri="data:image/png;base64,AAAA", media_type="image/png")
    for parts, options, reason in (
        ((sound, "?"), {}, "holds audio/wav"),
        ((broken, "?"), {}, "no image that Pillow can read"),
        ((picture(1), "?"), {"raw": True}, "a text without a chat template"),
        ((picture(1), "?"), {"specials": True}, "special tokens"),
    ):
        with pytest.raises(CapabilityError, match=reason):
            renderer.prompt([user(*parts)], **options)


def test_a_processor_whose_tokens_differ_is_refused() -> None:
    odd = processor("internvl")
    odd.tokens = lambda seen, number: "nothing"
    with pytest.raises(ConfigError, match="puts no <image> where image 0 is"):
        ImageRenderer(odd, IMAGE).prompt([user(picture(1), "?")])


def test_a_template_without_system_messages_puts_them_before_the_first_user(name: str) -> None:
    renderer = ImageRenderer(
        processor(name),
        IMAGE,
        TEMPLATE.replace("m in messages", "m in messages if m.role != 'system'").replace(
            "IMAGE", processor(name).image_token
        ),
    )
    messages: list[Message] = [system("Be brief."), user(picture(1), "What?"), assistant("A cat."), user("Sure?")]
    text = renderer.prompt(messages)
    assert "<|im_start|>user\nBe brief." in text.text
    assert text_of(opened(name), [text.ids[place] for place in text.places("user")]) == "Sure?"


def test_answers_to_images_are_those_that_transformers_would_write(name: str) -> None:
    inside = opened(name)
    prompts = [asked("Look: ", picture(seed), "What is it?", id=str(seed)) for seed in (1, 2)]
    prompts.append(asked("How are you?", id="text"))
    for prompt, written in zip(prompts, inside.generate(prompts, 6), strict=True):
        text = inside.renderer.prompt(prompt.messages)
        ids = torch.tensor([text.ids])
        seen = text.pictures.arguments(len(text), torch.device("cpu"), torch.float32) if text.pictures else {}
        with torch.no_grad():
            whole = inside.sites.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), **seen, max_new_tokens=6, do_sample=False
            )
        assert written.tokens == tuple(whole[0, -len(written.tokens) :].tolist())
        assert len(written.tokens) == whole.shape[1] - ids.shape[1]
