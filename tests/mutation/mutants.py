"""Every mutant of a file: one small change each, by the operators of mutmut and four that it lacks.

Left alone is what cannot matter to a program: annotations, docstrings, texts for people, `__repr__`.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import attrs
import libcst as cst
from libcst import matchers as m
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

ROOT = Path(__file__).parents[2]

#: What is mutated: the core and the policies, but for the data that checks of policies are made with.
ROOMS = sorted((ROOT / "scheduler" / "_core").glob("*.py")) + sorted((ROOT / "policies").glob("[!_]*.py"))

#: Functions whose answer people read.
FOR_PEOPLE = {"__repr__", "__str__"}
#: Calls whose arguments are types, or fail at once without one: their arguments are not taken away.
TYPED_CALLS = m.Call(func=m.Name("cast") | m.Name("isinstance") | m.Name("issubclass") | m.Name("len"))
#: Statements that the type checker reads, and nobody else.
FOR_TYPES = (
    m.If(test=m.Name("TYPE_CHECKING"))
    | m.Assign(targets=[m.AssignTarget(m.Name("__all__") | m.Name("__slots__"))])
    | m.Assign(value=m.Call(func=m.Name("TypeVar") | m.Name("ParamSpec") | m.Name("NewType")))
    | m.ClassDef(bases=[m.AtLeastN(m.Arg(m.Name("Protocol") | m.Subscript(m.Name("Protocol"))), n=1)])
)
#: A value that is a type: ``Callable[[int], str] | None``.
ALIAS = m.Assign(value=m.Subscript() | m.BinaryOperation(operator=m.BitOr()))


@attrs.frozen
class Mutant:
    """One change of one place. `span` are the lines of its statement up to the place."""

    file: str
    line: int
    span: tuple[int, int]
    where: str
    before: str
    after: str
    #: Which of equal changes within `where`, from 0.
    nth: int
    #: What was changed, in a word.
    kind: str = attrs.field(eq=False)

    @property
    def id(self) -> str:
        """Return eight letters that stay the same while the place does, wherever its line is."""
        return hashlib.sha256(
            repr((self.file, self.where, self.before, self.after, self.nth)).encode()
        ).hexdigest()[:8]

    def __str__(self) -> str:
        return f"{self.id} {self.file}:{self.line} {self.where}: {_short(self.before)} → {_short(self.after)}"


def _short(code: str) -> str:
    return " ".join(code.split())


# What mutmut lacks: whole statements and plain conditions.


def _dropped_call(node: cst.Expr) -> Iterator[cst.CSTNode]:
    if isinstance(node.value, cst.Call):
        yield cst.Pass()


def _dropped_refusal(node: cst.Raise) -> Iterator[cst.CSTNode]:
    yield cst.Pass()


def _nothing_returned(node: cst.Return) -> Iterator[cst.CSTNode]:
    if node.value is not None and not m.matches(node.value, m.Name("None")):
        yield node.with_changes(value=cst.Name("None"))


def _negated(node: cst.If | cst.While) -> Iterator[cst.CSTNode]:
    if m.matches(node.test, m.Name() | m.Attribute() | m.Call() | m.NamedExpr()):
        test = node.test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
        yield cst.UnaryOperation(operator=cst.Not(), expression=test)


OPERATORS = [
    *mutation_operators,
    (cst.Expr, _dropped_call),
    (cst.Raise, _dropped_refusal),
    (cst.Return, _nothing_returned),
]

#: What the operators change, in a word; those that are not here change an operator or a keyword.
KINDS = {
    "operator_number": "number",
    "operator_string": "string",
    "operator_name": "constant",
    "operator_assignment": "assignment",
    "operator_augmented_assignment": "assignment",
    "operator_arg_removal": "argument",
    "operator_dict_arguments": "argument",
    "_dropped_call": "statement dropped",
    "_dropped_refusal": "statement dropped",
    "_nothing_returned": "return value",
    "operator_if_exp": "condition",
    "operator_remove_unary_ops": "condition",
}


#: A node, what may stand there instead, within which function, the lines (statement, first, last), and the kind.
Place = tuple[cst.CSTNode, cst.CSTNode, str, tuple[int, int, int], str]


class _Finder(cst.CSTVisitor):
    """Walks over a file and keeps each place with what may stand there instead."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Place] = []
        self._names: list[str] = []
        self._statements: list[int] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if self._is_left_alone(node):
            return False
        if isinstance(node, cst.ClassDef | cst.FunctionDef):
            self._names.append(node.name.value)
        if isinstance(node, cst.BaseStatement):
            self._statements.append(self._lines(node)[0])
        self._find(node)
        return not isinstance(node, cst.Raise)

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if self._is_left_alone(original_node):
            return
        if isinstance(original_node, cst.ClassDef | cst.FunctionDef):
            self._names.pop()
        if isinstance(original_node, cst.BaseStatement):
            self._statements.pop()

    def _lines(self, node: cst.CSTNode) -> tuple[int, int]:
        position = self.get_metadata(PositionProvider, node)
        return position.start.line, position.end.line

    def _is_left_alone(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and node.name.value in FOR_PEOPLE:
            return True
        if isinstance(
            node, cst.Annotation | cst.FormattedString | cst.ConcatenatedString | cst.Import | cst.ImportFrom
        ):
            return True
        if m.matches(node, m.Arg(keyword=m.Name("repr")) | FOR_TYPES):
            return True
        if not self._names and m.matches(node, ALIAS):
            return True
        # A string with a space in it is a text for people.
        return isinstance(node, cst.SimpleString) and " " in node.value

    def _find(self, node: cst.CSTNode) -> None:
        if m.matches(node, TYPED_CALLS):
            return
        for type_, operator in OPERATORS:
            if isinstance(node, type_):
                kind = KINDS.get(operator.__name__, "operator")
                # The first is enough of a string: the others are the same with other cases.
                instead = itertools.islice(operator(node), 1 if kind == "string" else None)
                self.found += [self._place(node, each, kind) for each in instead]
        if isinstance(node, cst.If | cst.While):
            self.found += [self._place(node.test, instead, "condition") for instead in _negated(node)]

    def _place(self, node: cst.CSTNode, instead: cst.CSTNode, kind: str) -> Place:
        first, last = self._lines(node)
        statement = self._statements[-1] if self._statements else first
        return node, instead, ".".join(self._names) or "module", (statement, first, last), kind


def _walk(source: str) -> tuple[cst.Module, _Finder]:
    wrapper, finder = MetadataWrapper(cst.parse_module(source)), _Finder()
    wrapper.visit(finder)
    return wrapper.module, finder


@functools.lru_cache(maxsize=2)  # mutants are asked for file by file
def _places(path: Path) -> list[tuple[Mutant, cst.Module, cst.CSTNode, cst.CSTNode]]:
    module, finder = _walk(path.read_text(encoding="utf-8"))
    file, seen, places = path.relative_to(ROOT).as_posix(), {}, []
    for node, instead, where, (statement, first, last), kind in finder.found:
        before, after = module.code_for_node(node).strip(), module.code_for_node(instead).strip()
        key = where, before, after
        seen[key] = seen.get(key, -1) + 1
        mutant = Mutant(file, first, (statement, last), where, before, after, seen[key], kind)
        places.append((mutant, module, node, instead))
    return places


def mutants_of(path: Path) -> list[Mutant]:
    """Return every mutant of a file, in the order of its lines."""
    return [mutant for mutant, *_ in _places(path)]


def mutated(mutant: Mutant) -> str | None:
    """Return the file's source with the change in it; nothing when that is no other program, or none at all."""
    path = ROOT / mutant.file
    for found, module, node, instead in _places(path):
        if found == mutant:
            source = module.deep_replace(node, instead).code
            return source if _is_another(path.read_text(encoding="utf-8"), source) else None
    raise LookupError(f"no such mutant: {mutant}")


def _is_another(source: str, other: str) -> bool:
    try:
        return ast.dump(ast.parse(source)) != ast.dump(ast.parse(other)) and bool(
            compile(other, "mutant", "exec")
        )
    except SyntaxError:
        return False
