"""The mistakes in a study file, each a sentence with its place."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from metafa.errors import StudyError
from metafa.studies import sentences, toml
from metafa.studies.claims import ClaimSettings
from metafa.studies.fields import Settings, keys_of
from metafa.studies.names import close, meant
from metafa.studies.phases import PHASES
from metafa.studies.settings import StudySettings
from metafa.studies.spaces import ABSENT, NOT_SEARCHED, Range, TreePath, at, dotted_name, step_into
from metafa.studies.values import listed, shown

if TYPE_CHECKING:
    from metafa.studies.maker import Part


MAX_MESSAGES = 20


class Mistakes:
    """The mistakes found so far, as sentences with their place."""

    def __init__(self, file: str, text: str, tree: dict, named: bool = True):
        self.file, self.text, self.tree, self.named = file, text, tree, named
        self.messages: list[str] = []
        self.more = 0
        self.explained: set[Part] = set()
        """The parts of which is said what is wrong: many trials may share one."""

    @cached_property
    def lines(self) -> dict[TreePath, int]:
        """The line at whose end each table, and each key that stands before an =, is first set."""
        return toml.lines(self.text)

    def line(self, path: TreePath) -> int | None:
        """The line that sets ``path``, or what holds it."""
        return next((self.lines[path[:end]] for end in range(len(path), 0, -1) if path[:end] in self.lines), None)

    @cached_property
    def places_of_phases(self) -> dict[str, TreePath]:
        """Where each phase stands, by its name."""
        names = [phase.get("name") or phase.get("phase") for phase in self.phases]
        return {name: ("phases", i) for i, name in enumerate(names) if isinstance(name, str)}

    def _blamed(self, sentence: str) -> TreePath:
        """The place of the setting by whose dotted name a sentence begins, if it does."""
        table, _, setting = sentence.split(" ")[0].rstrip(":").partition(".")
        return (*self.places_of_phases.get(table, (table,)), setting) if setting else ()

    def add(self, path: TreePath, sentence: str) -> None:
        """Says what is wrong at a place. What is wrong with a trial as a whole has none; its sentence begins with the
        dotted name of a setting, if one is to blame."""
        line = self.line(path or self._blamed(sentence))
        where = f"{self.file}:{line}" if line else self.file
        place = dotted_name(path, self.tree)
        message = f"{where}: {place}: {sentence}" if place else f"{where}: {sentence}"
        message = message.replace("\n", " ")
        if message not in self.messages:
            self.messages.append(message)

    def raise_if_any(self) -> None:
        more = len(self.messages[MAX_MESSAGES:]) + self.more
        if more:
            self.messages[MAX_MESSAGES:] = [f"{self.file}: and {more} more mistakes"]
        if self.messages:
            raise StudyError(self.messages)

    def validate(self, tree: dict) -> StudySettings | None:
        try:
            return StudySettings.model_validate(tree)
        except ValidationError as error:
            self._explain(error.errors(include_url=False), {}, (), StudySettings)
        return None

    def explain(self, part: Part, point: dict[TreePath, Any] | None = None) -> None:
        """Says what is wrong with a part, of the search spaces of ``point`` where it is in one, or else of its own."""
        if part.error is None:
            return
        if len(self.messages) > MAX_MESSAGES:
            self.more += part.error.error_count()
        elif part not in self.explained:
            self.explained.add(part)
            found = part.error.errors(include_url=False)
            for mistake in found if len(part.place) > 1 else ():
                mistake["loc"] = (*part.place, *mistake["loc"][2:])
            self._explain(found, part.point if point is None else point, (), StudySettings)

    def _explain(self, found: Any, point: dict[TreePath, Any], root: TreePath, model: type[Settings]) -> None:
        misspelt = {m["loc"][:-1] for m in found if m["type"] == "extra_forbidden"}
        for mistake in found:
            if len(self.messages) > MAX_MESSAGES:
                self.more += 1
                continue
            if mistake["type"] == "missing" and mistake["loc"][:-1] in misspelt:
                continue  # said once, at the key that was written
            # pydantic puts a union's tag, and the member of a plain union, into the path: neither is in the file
            path, here = list(root), at(self.tree, root)
            for part in mistake["loc"]:
                step = step_into(here, part)
                if step is ABSENT and (part in PHASES or part in ("int", "float", "one rate", "rates")):
                    continue
                path.append(part)
                here = step
            where = tuple(path)
            option = next((where[: len(p)] for p in point if where[: len(p)] == p), None)
            if option is not None:
                where = option
            elif where[2:] and isinstance(where[-1], int) and isinstance(mistake["input"], list):
                self.add(where[:-1], sentences.lists(at(self.tree, where[:-1])))
                continue
            self.add(where, self._sentence_of(mistake, tuple(path), where, model, option is None))

    def _sentence_of(self, mistake: Any, path: TreePath, where: TreePath, model: type[Settings], single: bool) -> str:
        found, kind = mistake["input"], mistake["type"]
        searchable = single and model is StudySettings and bool(where) and where[0] not in NOT_SEARCHED
        match kind:
            case "extra_forbidden":
                table = None if model is Range else "" if len(path) == 1 else str(path[0])
                names = [name for phase in self.phases if isinstance(name := phase.get("name"), str)]
                return sentences.unknown_key(str(path[-1]), self._fields(mistake["loc"], model), table, names)
            case "missing" if path == ("phases",):
                return "missing: what trials do, each phase under a [[phases]]; `metafa studies` lists studies to copy"
            case "missing" if model is Range:
                return "missing: a range has `low` and `high`"
            case "string_pattern_mismatch" if path == ("name",):
                return sentences.no_name(found, "study", of_file=not self.named)
            case "literal_error" if searchable and not isinstance(found, str):
                return sentence_of(mistake, []) + sentences.varied(found)
            case _ if kind.endswith("_type"):
                written = at(self.tree, where)  # with search spaces as they stand in the file
                # of a list, each choice is wrong in the same way, and all of them are said at once
                found = written if (single or kind == "list_type") and written is not ABSENT else found
                return sentences.wrong_type(found, kind, where, searchable)
        return sentence_of(mistake, [])

    @property
    def phases(self) -> list[dict]:
        found = self.tree.get("phases")
        return [phase for phase in found if isinstance(phase, dict)] if isinstance(found, list) else []

    @staticmethod
    def _fields(path: TreePath, model: type[Settings]) -> list[str]:
        """The keys allowed where ``path``, as pydantic has it, ends."""
        if model is Range:
            return keys_of(Range)
        if path[:1] == ("phases",) and len(path) > 2:
            return keys_of(PHASES[str(path[2])])
        if path[:1] == ("claims",) and len(path) > 2:
            return keys_of(ClaimSettings)
        if len(path) > 1:
            return keys_of(sentences.TABLES[path[0]]) if path[0] in sentences.TABLES else []
        return keys_of(StudySettings)


def sentence_of(mistake: Any, fields: list[str]) -> str:
    found, context = mistake["input"], mistake.get("ctx", {})
    match mistake["type"]:
        case "extra_forbidden":
            return sentences.unknown_key(str(mistake["loc"][-1]), fields, None, [])
        case "misfit":
            return context["sentence"]
        case "missing":
            return "missing, and it has no default"
        case "literal_error":
            hint = meant(close(found, _literals(context["expected"])))
            return f"found {shown(found)}, expected {context['expected']}{hint}"
        case "union_tag_invalid":
            hint = meant(close(context["tag"], PHASES))
            return f"`phase` is {context['tag']!r}, expected {listed(PHASES)}{hint}"
        case "union_tag_not_found":
            return sentences.no_phase(found)
        case "string_pattern_mismatch":
            return sentences.no_name(found, "phase")
        case kind if kind.endswith("_type"):
            return sentences.wrong_type(found, kind, (), False)
        case _:
            message = mistake["msg"]
            return f"found {shown(found)}: {message[0].lower()}{message[1:]}"


def misfits(schema: type[Settings], settings: dict[str, Any]) -> list[str]:
    """What is wrong with settings that were said one by one rather than in a study file, a sentence each."""
    try:
        schema.model_validate(settings)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # a mistake of settings that do not fit each other has no place
        return [": ".join((*map(str, mistake["loc"][:1]), sentence_of(mistake, list(settings)))) for mistake in found]
    return []


def _literals(expected: str) -> list[str]:
    return [part.strip(" '") for part in expected.replace(" or ", ",").split(",")]
