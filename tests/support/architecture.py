"""The architecture rules: what may import what, how long code gets, where a module lies.

A rule is a function of source texts by path. It returns one line for each violation. The tests
are in `tests/test_architecture.py`.
"""

import ast
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

from tests.support.imports import Import, Modules, import_cycles, imports, loaded_with, parsed

# Each folder may import those to its right.
FOLDERS = ("deployments", "flows", "tasks", "pyfunc")

# The rooms of tasks/, highest first. A room imports lower ranks, not its neighbours in a rank.
RANKS = (
    ("reports", "maintenance", "serving"),
    ("lineage", "promotion", "shadow", "cluster"),
    ("scoring", "building", "comparison", "feedback", "learning", "recording"),
    ("composition",),
    ("training", "arms", "delivery", "staging", "business", "inputs"),
    ("dataset",),
    ("download", "static_model"),
    ("output", "ingestion", "tracking", "sources", "pages"),
    ("project", "measures"),
    ("common",),
)

LONGEST_MODULE = 300  # lines
MOST_MODULES = 13  # of a room, besides __init__.py
MOST_PARAMETERS = 6  # of a function that is neither a flow nor a command

# The child process gets the environment of its parent, with two variables changed.
READS_ENVIRONMENT = {
    "tasks/common/environment.py",
    "tasks/sources/addresses.py",
    "pyfunc/business/addresses.py",
    "pyfunc/cache/settings.py",
    "tasks/tracking/fresh_process.py",
}
SUBMITS_TASKS = {
    "tasks/cluster/cluster_pool.py",
    "tasks/scoring/deliveries.py",
    "tasks/scoring/shard_scheduler.py",
    "tasks/scoring/task_runner.py",
    "tasks/shadow/shadow_runner.py",
}
# Dask passes objects by pickle; this says how, and reads none.
CONFIGURES_PICKLE = {"tasks/cluster/connection.py"}
KEEPS_TELEMETRY_OUT = "pyfunc/engines/openvino.py"
LOADS_SHIPPED_CODE = "pyfunc/model.py"

# The standard library, every installed package, and two that transformers uses if they are there.
LIBRARIES = {*sys.stdlib_module_names, *packages_distributions(), "datasets", "evaluate"}

# 1 is the lowest.
RANK = {room: rank for rank, rooms in enumerate(reversed(RANKS), start=1) for room in rooms}
HEAVY = {"mlflow", "pandas", "torch"}
# Packages that import one of these.
LOADING_HEAVY = {"accelerate", "datasets", "nncf", "optimum", "peft", "sklearn", "transformers"}


# Reading


def folder_of(path: str) -> str:
    return path.split("/")[0]


def room_of(path: str) -> str:
    """Return the room of tasks/ that a module lies in, an empty string if in none."""
    parts = path.split("/")
    return parts[1] if parts[0] == "tasks" and len(parts) > 2 else ""


def rooms_in(modules: Modules) -> dict[str, set[str]]:
    """Return the file names of each room of tasks/."""
    rooms: dict[str, set[str]] = {}
    for path in modules:
        if room := room_of(path):
            rooms.setdefault(room, set()).add(Path(path).name)
    return rooms


def each_import(modules: Modules) -> Iterator[tuple[str, Import]]:
    for path, source in modules.items():
        for found in imports(path, source):
            yield path, found


def names_used(source: str) -> set[str]:
    nodes = ast.walk(parsed(source))
    return {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}


# Rules: who imports whom


def imports_to_the_left(modules: Modules) -> list[str]:
    """Data flows one way: deployments → flows → tasks → pyfunc."""
    return [
        f"{path}:{found.line} imports {found.name}"
        for path, found in each_import(modules)
        if found.package in {*FOLDERS[: FOLDERS.index(folder_of(path))], "tests", "benchmarks"}
    ]


def imports_against_ranks(modules: Modules) -> list[str]:
    """A room of tasks/ imports its own modules, lower ranks and pyfunc."""
    violations = [f"tasks/{room}: no rank" for room in rooms_in(modules) if room not in RANK]
    for path, found in each_import(modules):
        room = room_of(path)
        if room not in RANK or found.package != "tasks":
            continue
        _, _, below = found.name.partition(".")
        other = below.split(".")[0]
        # What is no room is a module beside them.
        if other != room and not (other in RANK and RANK[other] < RANK[room]):
            violations.append(f"{path}:{found.line} imports {found.name}")
    return violations


def cycles(modules: Modules) -> list[str]:
    """No file imports itself by way of others."""
    return [" ↔ ".join(group) for group in import_cycles(modules)]


def imports_of_prefect_tasks(modules: Modules) -> list[str]:
    """Tasks are called by flows; the task runner submits those of its room."""
    others = {
        path: source
        for path, source in modules.items()
        if folder_of(path) != "flows" and path not in SUBMITS_TASKS
    }
    return [
        f"{path}:{found.line} imports {found.name}"
        for path, found in each_import(others)
        if found.package == "tasks" and "prefect_tasks" in found.name.split(".")
    ] + [
        f"{path} uses {name}"
        for path, source in others.items()
        for name in sorted(names_used(source))
        if name.endswith(".prefect_tasks")
    ]


def hidden_imports(modules: Modules) -> list[str]:
    """An import is a statement, or `import_module` with a literal: a computed one hides a use."""
    makers = {"__import__", "importlib.__import__", "importlib.reload", "runpy", "pkgutil"}
    violations = []
    for path, source in modules.items():
        if path == LOADS_SHIPPED_CODE:
            continue
        violations += [
            f"{path}:{found.line} imports {found.name}"
            for found in imports(path, source)
            if found.name in {"importlib.import_module", *makers} or found.package in makers
        ]
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in {
                *makers,
                "importlib.import_module",
            }:
                literal = [arg for arg in node.args if isinstance(arg, ast.Constant)]
                if name in makers or len(node.args) != 1 or not literal:
                    violations.append(f"{path}:{node.lineno} calls {name}")
    return violations


def heavy_imports_of_types(modules: Modules) -> list[str]:
    """What every module imports loads quickly: mlflow alone takes seconds."""
    light = [
        path
        for path in modules
        if path == "tasks/tracking/names.py" or (room_of(path) and path.endswith("/types.py"))
    ]
    violations = []
    for path in light:
        for file in sorted(loaded_with(path, modules)):
            for found in imports(file, modules[file]):
                # Elsewhere an import inside a function is fine: it does not run at the start.
                if found.package in HEAVY | LOADING_HEAVY and (
                    file == path or found.when == "start"
                ):
                    via = "" if file == path else f" by way of {file}"
                    violations.append(f"{path} imports {found.package}{via}")
    return violations


def foreign_imports_of_shipped_code(modules: Modules) -> list[str]:
    """The model's code is loaded elsewhere, under another name: relative imports alone."""
    violations = []
    for path, found in each_import(modules):
        if folder_of(path) != "pyfunc":
            continue
        absent = {*FOLDERS, "prefect"} if found.level == 0 else set()
        if path != "pyfunc/model.py":
            absent.add("mlflow")
        # More dots than the module has parents would leave the package.
        if found.package in absent or found.level >= len(path.split("/")):
            violations.append(f"{path}:{found.line} imports {found.name}")
    return violations


def relative_imports(modules: Modules) -> list[str]:
    """Prefect loads a flow by its file, and MLflow the model's script under a generated name."""
    return [
        f"{path}:{found.line} imports {found.name}"
        for path, found in each_import(modules)
        if found.level and (folder_of(path) != "pyfunc" or path == "pyfunc/model.py")
    ]


def imports_of_openvino(modules: Modules) -> list[str]:
    """One module imports it, and keeps its telemetry out; for types anyone may."""
    return [
        f"{path}:{found.line} imports {found.name}"
        for path, found in each_import(modules)
        if found.package in {"openvino", "openvino_telemetry"} and found.when != "types"
        if path != KEEPS_TELEMETRY_OUT
    ]


# Rules: what a module does


def environment_reads(modules: Modules) -> list[str]:
    """Settings alone read the environment, by `os.environ`, so that a search finds it."""
    names = {"os.environ", "os.getenv", "os.environb"}
    violations = [
        f"{path}:{found.line} imports {found.name}"
        for path, found in each_import(modules)
        if found.name in names
    ]
    for path, source in modules.items():
        if path not in READS_ENVIRONMENT:
            violations += [f"{path} uses {name}" for name in sorted(names & names_used(source))]
    return violations


def unsafe_calls(modules: Modules) -> list[str]:
    """Nothing is pickled, but what Dask passes to its workers, and no shell is started."""
    unsafe = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    violations = [
        f"{path}:{found.line} imports {found.name}"
        for path, found in each_import(modules)
        if found.package in unsafe and path not in CONFIGURES_PICKLE
    ]
    for path, source in modules.items():
        used = names_used(source) & {"os.system", "os.popen", "torch.load"}
        violations += [f"{path} uses {name}" for name in sorted(used)]
        violations += [
            f"{path}:{node.value.lineno} has shell="
            for node in ast.walk(parsed(source))
            if isinstance(node, ast.keyword) and node.arg == "shell"
        ]
    return violations


def long_signatures(modules: Modules) -> list[str]:
    """A function has few parameters; a flow's are the fields of its form."""
    violations = []
    for path, source in modules.items():
        for node in ast.walk(parsed(source)):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            # Their parameters are those of a form or a command line.
            if is_made_by("flow", node) or is_made_by("described", node):
                continue
            count = len(parameters_of(node))
            if count > MOST_PARAMETERS:
                violations.append(f"{path}:{node.lineno} {node.name} has {count} parameters")
    return violations


def is_made_by(decorator: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    called = (d.func if isinstance(d, ast.Call) else d for d in function.decorator_list)
    return any(ast.unparse(name).split(".")[-1] == decorator for name in called)


def parameters_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    found = function.args
    several = [arg for arg in (found.vararg, found.kwarg) if arg]
    names = [a.arg for a in (*found.posonlyargs, *found.args, *found.kwonlyargs, *several)]
    return [name for name in names if name not in {"self", "cls"}]


# Rules: where a module lies


def long_modules(modules: Modules) -> list[str]:
    """A module is read in one sitting."""
    counts = {path: source.count("\n") for path, source in modules.items()}
    return [f"{path} has {lines} lines" for path, lines in counts.items() if lines > LONGEST_MODULE]


def modules_outside_rooms(modules: Modules) -> list[str]:
    """A module of tasks/ lies in a room, not beside or below one."""
    inside = [path for path in modules if folder_of(path) == "tasks"]
    return [path for path in inside if path.count("/") != 2 and path != "tasks/__init__.py"]


def rooms_without_a_line(modules: Modules) -> list[str]:
    """A room's `__init__.py` says in one line what the room is for, and does nothing."""
    folders = sorted({path.rpartition("/")[0] for path in modules if path.count("/") > 1})
    violations = []
    for folder in folders:
        body = parsed(modules.get(f"{folder}/__init__.py", "")).body
        line = ast.get_docstring(ast.Module(body, []), clean=False) or ""
        if len(body) != 1 or not line or "\n" in line:
            violations.append(f"{folder}/__init__.py: expected one line of docstring alone")
    return violations


def crowded_rooms(modules: Modules) -> list[str]:
    """A room holds as many modules as one can look through."""
    rooms = Counter(
        path.rpartition("/")[0]
        for path in modules
        if path.count("/") > 1 and not path.endswith("/__init__.py")
    )
    return [f"{room} has {n} modules" for room, n in rooms.items() if n > MOST_MODULES]


def missing_modules(modules: Modules) -> list[str]:
    """A room with tasks keeps them in `prefect_tasks.py`, and its records in `types.py`."""
    rooms = rooms_in(modules)
    missing = [f"tasks/{room}/types.py" for room, names in rooms.items() if has_tasks(names)]
    if "tracking" in rooms:
        missing.append("tasks/tracking/names.py")
    return [f"{path} is missing" for path in missing if path not in modules]


def has_tasks(names: set[str]) -> bool:
    return "prefect_tasks.py" in names


def tasks_elsewhere(modules: Modules) -> list[str]:
    """A Prefect task is found by the name of its module."""
    violations = []
    for path, source in modules.items():
        if path.endswith("/prefect_tasks.py"):
            continue
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (
                is_made_by("task", node) or is_made_by("step", node)
            ):
                violations.append(f"{path}:{node.lineno} {node.name} is a task")
    return violations


def flows_named_as_a_library(modules: Modules) -> list[str]:
    """Prefect puts a flow's folder first on `sys.path`, where it would hide the library."""
    return [path for path in modules if folder_of(path) == "flows" and Path(path).stem in LIBRARIES]


def unmatched_test_folders(folders: Collection[str], modules: Modules) -> list[str]:
    """A folder of tests has the place and name of a folder or a module of the source."""
    sources = {path.removesuffix(".py") for path in modules}
    sources |= {parent.as_posix() for path in modules for parent in Path(path).parents}
    own = ("tests/support/", "tests/system/")
    return [
        folder
        for folder in sorted(folders)
        if not f"{folder}/".startswith(own) and folder.removeprefix("tests/") not in sources
    ]
