"""Imports and import cycles, read from source text without running it."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Literal

from tasks.common.settings import REPOSITORY

# Source text by path, such as `tasks/common/files.py`.
Modules = Mapping[str, str]


@dataclass(frozen=True)
class Import:
    """An import statement, or a call of `import_module` with a literal name.

    Attributes:
        line: Line number in the file.
        name: Absolute dotted name: `from a.b import c` imports `a.b.c`.
        level: Dots of a relative import, 0 for an absolute one.
        when: `start` when the module is imported, `call` in a function, `types` under
            `TYPE_CHECKING`.
    """

    line: int
    name: str
    level: int
    when: Literal["start", "call", "types"]

    @property
    def package(self) -> str:
        return self.name.split(".")[0]


def read_modules(*folders: str) -> dict[str, str]:
    """Return the source text of each module under some folders of the repository."""
    return {
        path.relative_to(REPOSITORY).as_posix(): path.read_text(encoding="utf-8")
        for folder in folders
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    }


@cache
def parsed(source: str) -> ast.Module:
    """Return the syntax tree of a source text, which nobody may change."""
    return ast.parse(source)


@cache
def imports(path: str, source: str) -> tuple[Import, ...]:
    """Return every import of a module, those inside functions included.

    Args:
        path: Path of the module, from which relative imports start.
        source: Its text.
    """
    reader = _ImportReader(path)
    reader.visit(parsed(source))
    return tuple(reader.found)


class _ImportReader(ast.NodeVisitor):
    def __init__(self, path: str) -> None:
        self.found: list[Import] = []
        self._folders = path.split("/")[:-1]
        self._when: Literal["start", "call", "types"] = "start"

    def visit_Import(self, node: ast.Import) -> None:
        self._add(node, 0, *(alias.name for alias in node.names))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self._folders[: len(self._folders) + 1 - node.level] if node.level else []
        start = [*above, *filter(None, [node.module])]
        self._add(node, node.level, *(".".join([*start, alias.name]) for alias in node.names))

    def visit_Call(self, node: ast.Call) -> None:
        if ast.unparse(node.func).endswith("import_module"):
            names = [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant)]
            self._add(node, 0, *(name for name in names if isinstance(name, str)))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if ast.unparse(node.test) not in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            self.generic_visit(node)
            return
        self._visit_all(node.body, "types")
        self._visit_all(node.orelse, self._when)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._visit_all([*node.decorator_list, node.args], self._when)
        self._visit_all(node.body, "types" if self._when == "types" else "call")

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 -- ast asks for this name

    def _visit_all(self, nodes: Iterable[ast.AST], when: Literal["start", "call", "types"]) -> None:
        outer, self._when = self._when, when
        for node in nodes:
            self.visit(node)
        self._when = outer

    def _add(self, node: ast.expr | ast.stmt, level: int, *names: str) -> None:
        self.found.extend(Import(node.lineno, name, level, self._when) for name in names)


def imported_file(name: str, modules: Modules) -> str | None:
    """Return the path of the module that an import names, `None` if it is in no `modules`.

    Args:
        name: Such as `tasks.common.files` or `tasks.common.files.sha256_of`; both name one file.
        modules: Where to look.
    """
    for dotted in (name, name.rpartition(".")[0]):
        stem = dotted.replace(".", "/")
        for path in (f"{stem}.py", f"{stem}/__init__.py"):
            if path in modules:
                return path
    return None


def loaded_with(path: str, modules: Modules) -> set[str]:
    """Return the files that run when a module is imported: its own and its packages' included."""
    loaded: set[str] = set()
    todo = [path]
    while todo:
        file = todo.pop()
        if file in loaded:
            continue
        loaded.add(file)
        folders = file.split("/")[:-1]
        inits = ["/".join([*folders[:n], "__init__.py"]) for n in range(1, len(folders) + 1)]
        todo += [init for init in inits if init in modules]
        todo += _imported_files(file, modules, {"start"})
    return loaded


def import_cycles(modules: Modules) -> list[list[str]]:
    """Return the groups of files that import one another, lazily or for types included."""
    graph = {path: set(_imported_files(path, modules)) for path in modules}
    reached = {path: _reachable(graph, path) for path in modules}
    groups = {
        frozenset(other for other in reached[path] if path in reached[other])
        for path in modules
        if path in reached[path]
    }
    return sorted(sorted(group) for group in groups)


def _imported_files(
    path: str, modules: Modules, when: Iterable[str] = ("start", "call", "types")
) -> Iterator[str]:
    for found in imports(path, modules[path]):
        if found.when in when and (file := imported_file(found.name, modules)):
            yield file


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    """Return what one or more imports lead to; `start` itself only by a cycle."""
    reached: set[str] = set()
    todo = [start]
    while todo:
        new = graph[todo.pop()] - reached
        reached |= new
        todo += new
    return reached
