"""Reads the imports and a few habits off the source, without running any of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.common.settings import REPOSITORY

# Data flows one way: each room may import those to its right.
ROOMS = ("deployments", "flows", "tasks", "pyfunc")
LONGEST_MODULE = 300  # lines

# The child process gets the environment of its parent, with two variables changed.
READS_ENVIRONMENT = {
    "tasks/common/environment.py",
    "pyfunc/cache/settings.py",
    "tasks/building/verification.py",
}

MODULES = {
    path.relative_to(REPOSITORY).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for room in ROOMS
    for path in sorted((REPOSITORY / room).rglob("*.py"))
}


def room_of(module: str) -> str:
    return module.split("/")[0]


def imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the level (0 is absolute) and the module of each import, functions' own included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.level, node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield 0, ast.unparse(node.args[0]).strip("'")


def imported_packages(tree: ast.Module) -> set[str]:
    return {name.split(".")[0] for level, name in imports(tree) if level == 0}


def names_used(tree: ast.Module) -> set[str]:
    return {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_all_rooms_are_read() -> None:
    assert {room_of(module) for module in MODULES} == set(ROOMS)
    assert len(MODULES) > 40


@pytest.mark.parametrize("module", MODULES)
def test_no_room_imports_one_to_its_left(module: str) -> None:
    to_the_left = set(ROOMS[: ROOMS.index(room_of(module))]) | {"tests", "benchmarks"}
    assert imported_packages(MODULES[module]) & to_the_left == set()


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) == "pyfunc"])
def test_shipped_code_imports_itself_by_relative_imports_alone(module: str) -> None:
    packages = imported_packages(MODULES[module])
    assert packages & {*ROOMS, "prefect"} == set()
    assert "mlflow" not in packages or module == "pyfunc/model.py"
    # More dots than the module has parents would leave the package.
    assert {level for level, _ in imports(MODULES[module])} <= set(range(len(module.split("/"))))


def test_script_of_the_model_has_no_relative_import() -> None:
    # MLflow loads it under a generated name, where one would fail.
    assert {level for level, _ in imports(MODULES["pyfunc/model.py"])} == {0}


@pytest.mark.parametrize("module", [name for name in MODULES if room_of(name) != "pyfunc"])
def test_other_rooms_import_by_full_names(module: str) -> None:
    # Prefect loads a flow by its file, where relative imports fail.
    assert {level for level, _ in imports(MODULES[module])} <= {0}


@pytest.mark.parametrize("module", MODULES)
def test_environment_is_read_by_the_settings_alone(module: str) -> None:
    reads = {"os.environ", "os.getenv", "os.environb"} & names_used(MODULES[module])
    imported = {
        alias.name
        for node in ast.walk(MODULES[module])
        if isinstance(node, ast.ImportFrom) and node.module == "os"
        for alias in node.names
    }
    assert not reads or module in READS_ENVIRONMENT
    assert imported & {"environ", "getenv", "environb"} == set()


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_pickled_and_no_shell_is_started(module: str) -> None:
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert imported_packages(MODULES[module]) & unsafe == set()
    for node in ast.walk(MODULES[module]):
        assert not (isinstance(node, ast.keyword) and node.arg == "shell")
    assert not names_used(MODULES[module]) & {"os.system", "os.popen", "torch.load"}


@pytest.mark.parametrize("module", MODULES)
def test_modules_stay_short(module: str) -> None:
    lines = (REPOSITORY / module).read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST_MODULE


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_openvino_is_imported_by_what_keeps_its_telemetry_out_alone() -> None:
    importing = set()
    for folder in (*ROOMS, "benchmarks", "tests"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            tree.body = [node for node in tree.body if not is_for_types(node)]
            if imported_packages(tree) & {"openvino", "openvino_telemetry"}:
                importing.add(path.relative_to(REPOSITORY).as_posix())
    assert importing == {"pyfunc/engines/openvino.py"}


def test_no_flow_has_a_module_that_shadows_a_library() -> None:
    # Prefect puts an entrypoint's folder first on sys.path.
    heavy = {
        "datasets",
        "mlflow",
        "pandas",
        "prefect",
        "torch",
        "transformers",
        "evaluate",
        "logging",
    }
    assert {Path(name).stem for name in MODULES if room_of(name) == "flows"} & heavy == set()
