"""The documents say what the code says: layers, life-cycle, words, the platform file's example, the parts' names."""

import re
import tomllib
from pathlib import Path

import pytest
from click import Context, Group
from ruamel.yaml import YAML

from dure.cli.app import GROUP
from dure.client.options import OPTIONS
from dure.core.lifecycle import diagram
from dure.core.model import Platform
from dure.core.platform import _KEYS, parse
from tests.architecture.source import PACKAGE, ROOT, files, shown

DOCS = ROOT / "docs"
ARCHITECTURE = (DOCS / "ARCHITECTURE.md").read_text(encoding="utf-8")
GLOSSARY = (DOCS / "GLOSSARY.md").read_text(encoding="utf-8")
ADMIN = (DOCS / "ADMIN.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^\| ([^|]+?) \| [^|]+ \| `([^`]+): (\w+)` \|$", GLOSSARY, re.MULTILINE)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SOURCE_NAME = re.compile(
    r"`((?:src/dure/|core/|control/|adapters/|worker/|notebook/|client/|wire/|state/|api/|main/|tests/|hub/)[\w/.]+\.py)"
)


def fenced(text: str, after: str) -> str:
    """Return the content of the first fenced block that follows `after`."""
    found = re.search(r"```\w*\n(.*?)```", text[text.index(after) :], re.DOTALL)
    assert found is not None, f"no block follows {after!r}"
    return found[1]


def section(text: str, title: str) -> str:
    """Return a section's text up to the next heading of the same depth."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found is not None, f"there is no section {title!r}"
    return found[1]


# --- ARCHITECTURE.md ---


def test_the_layers_are_import_linters() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    written = fenced(ARCHITECTURE, "<!-- layers -->").split("\n")
    assert [line for line in written if line] == [re.sub(r"[()]", "", layer) for layer in layers]


def test_every_package_has_its_row_and_every_row_its_package() -> None:
    visible = [path for path in PACKAGE.iterdir() if not path.name.startswith(("_", "."))]
    there = {path.stem for path in visible if path.suffix == ".py"}
    there |= {path.name for path in visible if path.is_dir() and any(path.glob("*.*"))}
    rows = set(re.findall(r"^\| `(\w+)` \|", section(ARCHITECTURE, "Layers"), re.MULTILINE))
    assert rows == there


def test_the_packages_of_state_list_their_modules() -> None:
    for package in (PACKAGE / "state").rglob("__init__.py"):
        visible = (path for path in package.parent.iterdir() if not path.name.startswith("_"))
        there = {path.stem for path in visible if path.suffix == ".py" or (path / "__init__.py").exists()}
        listed = re.findall(r"^    (\w+)  +\S", package.read_text(encoding="utf-8").split('"""')[1], re.MULTILINE)
        assert sorted(listed) == sorted(there), shown(package)


def test_the_life_cycle_is_the_transition_table() -> None:
    assert fenced(ARCHITECTURE, "<!-- lifecycle -->") == diagram()


# --- GLOSSARY.md ---


def test_the_glossary_is_read() -> None:
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("| ") and not line.startswith("| word ")]
    assert len(TERMS) == len(rows), "each row is: word | what it is | `file: identifier`"


def test_no_word_is_explained_twice() -> None:
    words = [word for word, _, _ in TERMS]
    assert sorted(words) == sorted(set(words))


@pytest.mark.parametrize(("word", "file", "identifier"), TERMS, ids=[word for word, _, _ in TERMS])
def test_a_word_stands_in_the_code_where_the_glossary_says(word: str, file: str, identifier: str) -> None:
    text = (PACKAGE / file).read_text(encoding="utf-8")
    assert re.search(rf"\b{identifier}\b", text), f"{word!r}: {identifier} is not in {file}"


def test_each_phase_and_goal_and_kind_is_named_in_the_glossary() -> None:
    from dure.core.model import Goal, Kind, Phase

    rows = dict(re.findall(r"^\| (\w+) \| (.+)$", GLOSSARY, re.MULTILINE))
    for word, values in {"phase": Phase, "goal": Goal, "kind": Kind}.items():
        assert not [value for value in values if value.value not in rows[word]]


# --- ADMIN.md ---


def test_the_example_of_a_platform_file_is_valid_and_shows_every_section() -> None:
    document = YAML(typ="safe").load(fenced(ADMIN, "## platform.yaml"))
    platform = parse(document)
    assert isinstance(platform, Platform), "\n".join(str(problem) for problem in platform)
    assert set(_KEYS) - set(document) <= {"default_timeout_s", "authenticator", "kueue"}


def test_every_variable_of_the_settings_is_explained() -> None:
    settings = (PACKAGE / "settings.py").read_text(encoding="utf-8")
    explained = section(ADMIN, "Settings that are not in the file")
    missing = set(re.findall(r'"(DURE_\w+)"', settings)) - set(re.findall(r"DURE_\w+", explained))
    # These belong to the identity `header`, which `dure up` does not offer.
    assert missing <= {"DURE_TRUSTED_PROXIES", "DURE_PROXY_SECRET"}


# --- README.md and all ---


def test_commands_that_documents_name_exist() -> None:
    for path in documents():
        for words in re.findall(r"`(?:\$ )?dure ([a-z]+)(?: ([a-z]+))?", path.read_text(encoding="utf-8")):
            command = GROUP.get_command(Context(GROUP), words[0])
            assert command is not None, f"{shown(path)} names `dure {words[0]}`"
            if isinstance(command, Group) and words[1]:
                assert words[1] in command.commands, f"{shown(path)} names `dure {' '.join(words)}`"


def test_the_table_of_options_is_that_of_the_code() -> None:
    table = section(README, "Options of `%%gpu`, `dure run` and `@dure.gpu`")
    named = set(re.findall(r"`(--[a-z-]+)", table))
    assert named == {flag for option in OPTIONS for flag in option.flags if flag.startswith("--")}


def test_make_targets_that_documents_name_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for path in documents():
        assert set(re.findall(r"`make ([a-z]+)", path.read_text(encoding="utf-8"))) <= targets, shown(path)


def test_links_and_files_that_documents_name_exist() -> None:
    wrong = []
    for path in documents():
        text = path.read_text(encoding="utf-8")
        for target in LINK.findall(text):
            place = target.partition("#")[0]
            if "://" not in target and place and not (path.parent / place).exists():
                wrong.append(f"{shown(path)}: {target}")
        names = SOURCE_NAME.findall(text)
        wrong += [f"{shown(path)}: {name}" for name in names if not any((r / name).exists() for r in (ROOT, PACKAGE))]
    assert not wrong, "\n".join(wrong)


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions" / "README.md").read_text(encoding="utf-8")
    records = {path.name for path in (DOCS / "decisions").glob("0*.md")}
    assert set(LINK.findall(index)) == records
    assert all(len((DOCS / "decisions" / name).read_text(encoding="utf-8").splitlines()) <= 60 for name in records)


def documents() -> list[Path]:
    return [path for path in files() if path.suffix == ".md"]
