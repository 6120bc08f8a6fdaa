"""Every name, input, tooltip, command and setting in English and Chinese, as tools/locales.py writes them."""

import json
import re
from pathlib import Path

import pytest

import locales
from app.custom_node_manager import CustomNodeManager

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "zh")
SAME = {"LATENT", "NoiseSearch", "cfg", "clip", "latent", "latents", "nfe", "sigma_data", "sigmas", "vae"}
RENEW = "run tools/locales.py after a change of texts; it names what tools/translations/zh.json lacks"


def stored(language):
    return {
        name: json.loads((ROOT / "locales" / language / f"{name}.json").read_text("utf-8"))
        for name in locales.FILES
    }


@pytest.fixture
def english(object_info):
    return locales.english(object_info, locales.scripts())


@pytest.fixture(scope="module")
def dictionary():
    return json.loads((ROOT / "tools" / "translations" / "zh.json").read_text("utf-8"))


def test_english_is_what_the_nodes_and_scripts_say(english):
    assert stored("en") == english, RENEW


def test_chinese_has_every_text_and_no_other(english, dictionary):
    assert sorted(locales.texts(english) - set(dictionary)) == [], RENEW
    assert sorted(set(dictionary) - locales.texts(english)) == [], "no longer used: delete them"
    assert stored("zh") == locales.translated(english, dictionary), RENEW


def test_a_translation_is_chinese_and_keeps_the_numbers(dictionary):
    assert [text for text, said in dictionary.items() if not re.search(r"[一-鿿]", said)] == sorted(SAME)
    numbers = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?!\w)")
    assert [
        text
        for text, said in dictionary.items()
        if not set(numbers.findall(text)) <= set(re.findall(r"-?\d+(?:\.\d+)?", said))
    ] == []


def test_no_text_holds_what_the_front_ends_translator_reads_as_a_command(english, dictionary):
    said = locales.texts(english) | set(dictionary.values())
    assert [text for text in said if set(text) & set(locales.SPECIAL)] == []


def test_no_setting_or_command_of_the_scripts_is_forgotten(english):
    """Every id that a script declares or asks for, itself or by a constant."""
    scripts = locales.scripts()
    constants = dict(re.findall(r'const (\w+) = "([^"]*)"', scripts))
    named = re.findall(r'(?:\bid: |\bget\(|\bset\(|\bexecute\()"?([\w.]+)', scripts)
    ids = {name for name in (constants.get(one, one) for one in named) if name.startswith("NoiseSearch.")}
    known = {*english["settings"], *english["commands"]}
    assert {name.replace(".", "_") for name in ids} == known and known


def test_settings_and_commands_are_read_from_a_script():
    script = """
const CLEAR = "Pack.Clear";
const commands = [
  { id: CLEAR, label: "Clear [all]", function: () => go({ a: [1] }) },
];
app.registerExtension({
  settings: [
    { id: "Pack.On", category: ["Pack", "Group", "On"], name: "Switch", options: ["a"], tooltip: "Says \\"why\\"." },
    { id: "Pack.Much", name: "How much" },
  ],
});
"""
    found = locales.english({}, script)
    assert found["commands"] == {"Pack_Clear": {"label": "Clear [all]"}}
    assert found["settings"] == {
        "Pack_On": {"name": "Switch", "tooltip": 'Says "why".'},
        "Pack_Much": {"name": "How much"},
    }
    assert found["main"]["settingsCategories"] == {"Pack": "Pack", "Group": "Group"}


def test_a_missing_translation_is_named():
    with pytest.raises(KeyError, match="new text"):
        locales.translated({"a": {"b": "new text"}}, {})


def test_comfyui_reads_them(monkeypatch, tmp_path):
    """What its page asks for at the start: /i18n."""
    (tmp_path / "noise-search").symlink_to(ROOT, target_is_directory=True)
    monkeypatch.setattr("folder_paths.get_folder_paths", lambda kind: [str(tmp_path)])
    told = CustomNodeManager().build_translations()
    for language in LANGUAGES:
        assert told[language]["nodeDefs"] == stored(language)["nodeDefs"]
        assert told[language]["settings"] == stored(language)["settings"]
        assert (
            told[language]["nodeCategories"]["judges"] == stored(language)["main"]["nodeCategories"]["judges"]
        )
