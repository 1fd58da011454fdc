"""Translation by the glossary and by a language model that is slow, wrong, broken or away."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pgcad.corpus.translation import ChatService, ChatTranslator, GlossaryTranslator, chosen_translator
from pgcad.errors import CadError
from service_doubles.chat import ScriptedModel, Step

TEXTS = ["hex nut M8", "washer 8.4 mm", "o-ring 10 x 2"]
Models = Callable[..., ScriptedModel]


@pytest.fixture
def model_of() -> Iterator[Models]:
    models: list[ScriptedModel] = []

    def started(*steps: Step) -> ScriptedModel:
        models.append(ScriptedModel(steps))
        return models[-1]

    yield started
    for model in models:
        model.close()


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "translations.sqlite"


def translator(model: ScriptedModel, memory: Path, **options: object) -> ChatTranslator:
    return ChatTranslator(ChatService(model.url, "qwen", **{"retries": 2, **options}), memory)  # type: ignore[arg-type]


def in_chinese(texts: list[str]) -> list[str]:
    return [f"译：{text}" for text in texts]


def test_the_glossary_works_offline_and_always_alike() -> None:
    first, again = (GlossaryTranslator().translate(["hex nut, 8.4 mm", "Phoenix MSTB"], "zh") for _ in range(2))
    assert first == again
    assert "六角螺母" in first[0] and "8.4" in first[0]
    with pytest.raises(CadError, match="does not translate into 'en'"):
        GlossaryTranslator().translate(["螺母"], "en")


def test_every_text_is_translated_in_its_place(model_of: Models, memory: Path) -> None:
    model = model_of()
    chat = translator(model, memory, batch=2)
    assert chat.translate([*TEXTS, TEXTS[0]], "zh") == in_chinese([*TEXTS, TEXTS[0]])
    assert model.asked == [TEXTS[:2], TEXTS[2:]]
    assert chat.replaced == 0


def test_nothing_is_asked_twice(model_of: Models, memory: Path) -> None:
    model = model_of()
    translator(model, memory).translate(TEXTS[:2], "zh")
    assert translator(model, memory).translate(TEXTS, "zh") == in_chinese(TEXTS)
    assert model.asked == [TEXTS[:2], TEXTS[2:]]
    assert translator(model, memory).translate([], "zh") == []


def test_an_answer_fenced_as_code_is_read(model_of: Models, memory: Path) -> None:
    model = model_of(Step(says=lambda texts: f"```json\n{json.dumps(in_chinese(texts))}\n```"))
    assert translator(model, memory).translate(TEXTS, "zh") == in_chinese(TEXTS)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_failure_is_tried_again(model_of: Models, memory: Path, status: int) -> None:
    model = model_of(Step(status=status, headers={"Retry-After": "0"}, body=b"busy"), Step(cut=True))
    assert translator(model, memory).translate(TEXTS, "zh") == in_chinese(TEXTS)
    assert len(model.asked) == 3


def test_the_pause_that_the_service_asks_for_is_kept(
    model_of: Models, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("urllib3.util.retry.time.sleep", pauses.append)
    model = model_of(Step(status=429, headers={"Retry-After": "7"}), Step(status=503, headers={"Retry-After": "9999"}))
    translator(model, memory).translate(TEXTS, "zh")
    assert pauses == [7, 30]


def test_a_run_that_broke_off_goes_on_where_it_was(model_of: Models, memory: Path) -> None:
    broken = [Step(status=500, headers={"Retry-After": "0"}, body=b"out of order")] * 3
    model = model_of(Step(), *broken)
    with pytest.raises(CadError, match=r"keeps failing \(500\)") as error:
        translator(model, memory, batch=1).translate(TEXTS, "zh")
    assert error.value.sqlstate == "08001"
    assert "out of order" in error.value.detail
    model.asked.clear()
    assert translator(model, memory, batch=1).translate(TEXTS, "zh") == in_chinese(TEXTS)
    assert model.asked == [TEXTS[1:2], TEXTS[2:]]


def test_an_answer_of_another_number_is_asked_again_in_halves(model_of: Models, memory: Path) -> None:
    model = model_of(Step(says=lambda texts: json.dumps(in_chinese(texts)[:-1])))
    assert translator(model, memory).translate(TEXTS, "zh") == in_chinese(TEXTS)
    assert model.asked == [TEXTS, TEXTS[:1], TEXTS[1:]]


@pytest.mark.parametrize("nonsense", ["I cannot do that", "[1, 2, 3]", '{"a": 1}', "[]"])
def test_what_is_no_list_of_texts_gives_the_glossary_s(model_of: Models, memory: Path, nonsense: str) -> None:
    model = model_of(*[Step(says=lambda texts: nonsense)] * 5)
    chat = translator(model, memory)
    assert chat.translate(TEXTS, "zh") == GlossaryTranslator().translate(TEXTS, "zh")
    assert chat.replaced == 3


def test_a_lost_number_gives_the_glossary_s(model_of: Models, memory: Path) -> None:
    answer = ["六角螺母 M8", "垫圈 8 mm", "O 形圈 2"]
    model = model_of(Step(says=lambda texts: json.dumps(answer)))
    chat = translator(model, memory)
    glossary = GlossaryTranslator().translate(TEXTS, "zh")
    assert chat.translate(TEXTS, "zh") == [answer[0], *glossary[1:]]
    assert chat.replaced == 2
    assert translator(model, memory).translate(TEXTS, "zh") == [answer[0], *glossary[1:]]
    assert len(model.asked) == 1


def test_a_service_that_is_too_slow_is_given_up(model_of: Models, memory: Path) -> None:
    model = model_of(*[Step(delay_s=1.0)] * 2)
    with pytest.raises(CadError, match="does not answer") as error:
        translator(model, memory, timeout_s=0.2, retries=0).translate(TEXTS, "zh")
    assert error.value.sqlstate == "08001"
    assert "run the same command again" in error.value.hint


def test_a_service_that_is_away_is_named(memory: Path, model_of: Models) -> None:
    model = model_of()
    model.close()
    with pytest.raises(CadError, match=r"http://127\.0\.0\.1:\d+/v1 does not answer"):
        translator(model, memory, retries=0).translate(TEXTS, "zh")


@pytest.mark.parametrize(
    ("step", "sqlstate", "says"),
    [
        (Step(status=401, body=b"no"), "28000", "refuses the key"),
        (Step(status=404, body=b"no such model"), "22023", "no such model"),
        (Step(body=b"<html>"), "08P01", "as /chat/completions should"),
        (Step(body=b'{"choices": []}'), "08P01", "as /chat/completions should"),
    ],
)
def test_a_refusal_says_what_to_change(model_of: Models, memory: Path, step: Step, sqlstate: str, says: str) -> None:
    model = model_of(step)
    with pytest.raises(CadError, match=says) as error:
        translator(model, memory).translate(TEXTS, "zh")
    assert error.value.sqlstate == sqlstate
    assert len(model.asked) == 1


def test_the_key_comes_from_the_environment_and_is_never_kept(
    model_of: Models, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of(Step(), Step(status=403))
    monkeypatch.setenv("PGCAD_KEY_TEST", "sk-secret")
    chat = translator(model, memory, key_env="PGCAD_KEY_TEST")
    chat.translate(TEXTS, "zh")
    assert model.authorizations == ["Bearer sk-secret"]
    with pytest.raises(CadError) as error:
        chat.translate(["another text"], "zh")
    told = f"{error.value.message} {error.value.hint} {error.value.detail} {chat.name}"
    assert "secret" not in told and "PGCAD_KEY_TEST" in told
    assert b"secret" not in memory.read_bytes()
    monkeypatch.delenv("PGCAD_KEY_TEST")
    with pytest.raises(CadError, match="PGCAD_KEY_TEST holds no key"):
        translator(model, memory, key_env="PGCAD_KEY_TEST")


def test_damaged_memory_is_named(model_of: Models, memory: Path) -> None:
    memory.parent.mkdir()
    memory.write_bytes(b"not a database, but long enough to be read as the header of one" * 20)
    with pytest.raises(CadError, match="cannot be read") as error:
        translator(model_of(), memory).translate(TEXTS, "zh")
    assert "Delete the file" in error.value.hint


def test_the_choice_of_a_command_line(memory: Path) -> None:
    assert isinstance(chosen_translator("glossary", None, None, memory), GlossaryTranslator)
    assert isinstance(chosen_translator("https://models.example/v1", "qwen", None, memory), ChatTranslator)
    with pytest.raises(CadError, match="no model is named"):
        chosen_translator("https://models.example/v1", None, None, memory)
    with pytest.raises(CadError, match="is not an address"):
        chosen_translator("qwen", "qwen", None, memory)
