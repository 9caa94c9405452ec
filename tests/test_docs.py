"""What the documentation tells people to copy works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from mmedpo.chat.cache import VERSION, CallCache
from mmedpo.config import EndpointSettings, RunSettings, load_settings

PAGE = (Path(__file__).parents[1] / "docs" / "endpoints.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> RunSettings:
    text, _ = (block for block in blocks("yaml") if "extends:" in block)
    path = tmp_path_factory.mktemp("recipes") / "my-recipe.yaml"
    path.write_text(text)
    return load_settings(path)


def test_the_recipe_of_the_page_is_one(recipe: RunSettings) -> None:
    assert recipe.used_endpoints("curate") == ("gpt",)
    assert recipe.used_endpoints("score") == ("med42", "biomistral")
    assert recipe.chat.endpoints["gpt"].priced
    assert "offline stand-ins" not in " ".join(recipe.caveats), "the parent's caveat about rules is not true here"


def test_the_recipe_of_a_served_target_model_is_one(tmp_path: Path) -> None:
    _, text = (block for block in blocks("yaml") if "extends:" in block)
    (tmp_path / "mine.yaml").write_text(text)
    served = load_settings(tmp_path / "mine.yaml", ["data.root=."])
    assert (served.used_endpoints("predict-base"), served.used_endpoints("predict-tuned")) == (("vllm",), ("tuned",))
    # The adapter fits the rank that the server on the page is started with.
    assert f"--max-lora-rank {served.train.lora.rank} " in PAGE


def test_the_servers_started_on_the_page_are_those_of_the_recipe(recipe: RunSettings) -> None:
    commands = PAGE.replace("\\\n", " ")
    for name in recipe.used_endpoints("score"):
        endpoint = recipe.chat.endpoints[name]
        port = endpoint.base_url.removeprefix("http://127.0.0.1:").removesuffix("/v1")
        started = rf"--host 127\.0\.0\.1 --port {port}\s+--served-model-name {endpoint.model} "
        assert len(re.findall(started, commands)) == 2, "vLLM and SGLang"


def test_every_endpoint_on_the_page_is_one() -> None:
    described = [yaml.safe_load(block) for block in blocks("yaml") if "extends:" not in block]
    endpoints = {name: EndpointSettings.model_validate(item) for page in described for name, item in page.items()}
    assert {endpoint.kind for endpoint in endpoints.values()} == {"openai", "transformers", "replay"}


def test_the_chat_template_takes_a_system_turn() -> None:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    (text,) = blocks("jinja")
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(text.strip())

    def render(*turns: tuple[str, str]) -> str:
        messages = [{"role": role, "content": content} for role, content in turns]
        return template.render(messages=messages, bos_token="<s>", eos_token="</s>", add_generation_prompt=True)

    opening = (("system", "S"), ("user", "U"))
    assert render(*opening) == "<s>[INST] S\n\nU [/INST]"
    repair = (("assistant", "A"), ("user", "Again"))
    assert render(*opening, *repair) == "<s>[INST] S\n\nU [/INST] A</s>[INST] Again [/INST]"
    assert render(("user", "U")) == "<s>[INST] U [/INST]"


def test_every_option_on_the_page_exists() -> None:
    from mmedpo.cli.main import app

    commands = re.findall(r"^    mmedpo (\w+) (.*?)(?:\s+#.*)?$", PAGE, flags=re.MULTILINE)
    assert len(commands) >= 7
    for command, rest in commands:
        told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        for option in re.findall(r"--[\w-]+", rest):
            assert option in told, f"mmedpo {command} has no {option}"


def test_the_audit_query_of_the_page_runs(tmp_path: Path) -> None:
    import sqlite3

    (query,) = re.findall(r'sqlite3 runs/NAME/calls\.sqlite "(.*)"', PAGE)
    cache = CallCache(tmp_path / "calls.sqlite", "mine")
    cache.record_egress("gpt", "api.openai.com", "slake", "open", "open-data")
    cache.close()
    file = sqlite3.connect(tmp_path / "calls.sqlite")
    assert file.execute(query).fetchone()[:6] == ("mine", "gpt", "api.openai.com", "slake", "open", "open-data")
    assert file.execute("PRAGMA user_version").fetchone() == (VERSION,)
    file.close()


def test_numbers_on_the_page_are_those_of_the_code() -> None:
    from mmedpo.chat import batch, line, structured
    from mmedpo.score.agents import chat as chat_agent

    words = {1: "once", 4: "four", 10: "ten"}
    assert f"{words[line.FAILURES_IN_A_ROW]} calls in a row fail" in PAGE
    assert f"{words[line.REFUSED_IN_A_ROW]} refused connections" in PAGE
    assert f"may be mended {words[structured.REPAIRS]}" in PAGE
    assert f"is asked {words[chat_agent.REFUSALS]} more" in PAGE
    text = " ".join(PAGE.split())
    assert f"at most {batch.MOST_REQUESTS:,} requests and {batch.MOST_BYTES // 10**6} MB each" in text
    assert f"within 0 to {chat_agent.SCALE}" in text


MODELS = (Path(__file__).parents[1] / "docs" / "real-models.md").read_text(encoding="utf-8")


def test_every_command_of_the_page_on_real_models_exists() -> None:
    from mmedpo.cli.main import app
    from mmedpo.recipes import shipped_recipes

    commands = re.findall(r"^    mmedpo (\w+) (.*?)(?:\s+#.*)?$", MODELS, flags=re.MULTILINE)
    assert {command for command, _ in commands} >= {"convert", "doctor", "run"}
    for command, rest in commands:
        told = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
        for option in re.findall(r"--[\w-]+", rest):
            assert option in told, f"mmedpo {command} has no {option}"
        overrides = re.findall(r"--set (\S+)", rest)
        recipe = re.search(r"^([\w-]+) --|--(?:plan|data) ([\w-]+)", rest)
        named = next((name for name in (recipe.groups() if recipe else ()) if name), "RECIPE")
        if named != "RECIPE":
            assert named in shipped_recipes()
            load_settings(named, ["data.root=.", *overrides])


def test_the_prompts_of_the_page_are_those_that_conversion_writes() -> None:
    from mmedpo.models.convert.layouts import LAYOUTS

    for kind in ("llava_mistral", "llava_qwen2"):
        assert f"    {LAYOUTS[kind].prompt('QUESTION', 1)!r}\n" in MODELS
    assert {layout.title for layout in LAYOUTS.values()} <= set(re.findall(r"^## (.+)$", MODELS, flags=re.MULTILINE))
    text = " ".join(MODELS.split())
    assert ("takes the CLIP named" in text) is (not LAYOUTS["llava_mistral"].tower_in_shards)
    assert ("The tower comes from the shards" in text) is LAYOUTS["llava_qwen2"].tower_in_shards
    assert ("pictures are always padded" in text) is LAYOUTS["llava_qwen2"].pads


def test_the_exit_codes_and_settings_of_the_page_are_those_of_the_code(tmp_path: Path) -> None:
    from mmedpo.pipeline.doctor.diagnosis import EXIT

    assert f"{EXIT[None]} nothing found, {EXIT['warning']} warnings, {EXIT['error']} errors" in " ".join(MODELS.split())
    (block,) = re.findall(r"^    model: .*?(?=\n\n)", MODELS, flags=re.MULTILINE | re.DOTALL)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: llava-med-vqa-rad\n" + "\n".join(line[4:] for line in block.splitlines()))
    settings = load_settings(recipe, ["data.root=."])
    assert settings.train.activation_checkpointing
    # What the page says of the paper's settings.
    train = settings.train
    assert (train.learning_rate, train.epochs, train.lora.rank) == (1e-7, 3, 128)
    assert train.batch_groups * train.gradient_accumulation == 16
