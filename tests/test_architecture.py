"""Each architecture rule holds for the repository, and finds a small example that breaks it."""

from collections.abc import Callable

import pytest

from tests.support.architecture import (
    FOLDERS,
    KEEPS_TELEMETRY_OUT,
    RANK,
    crowded_rooms,
    cycles,
    environment_reads,
    flows_named_as_a_library,
    folder_of,
    foreign_imports_of_shipped_code,
    heavy_imports_of_types,
    hidden_imports,
    imports_against_ranks,
    imports_of_openvino,
    imports_of_prefect_tasks,
    imports_to_the_left,
    long_modules,
    long_signatures,
    missing_modules,
    modules_outside_rooms,
    relative_imports,
    rooms_in,
    rooms_without_a_line,
    tasks_elsewhere,
    unmatched_test_folders,
    unsafe_calls,
)
from tests.support.imports import Modules, imports, read_modules

Rule = Callable[[Modules], list[str]]

MODULES = read_modules(*FOLDERS)
SOURCES = MODULES | read_modules("benchmarks")


def check(violations: list[str]) -> None:
    assert not violations, "\n" + "\n".join(violations)


# The repository keeps them


def test_everything_is_read() -> None:
    assert {folder_of(path) for path in MODULES} == set(FOLDERS)
    assert len(MODULES) > 40
    assert rooms_in(MODULES).keys() == RANK.keys()


def test_shipped_code_alone_imports_by_relative_names() -> None:
    shipped = {name: MODULES[name] for name in MODULES if folder_of(name) == "pyfunc"}
    check(foreign_imports_of_shipped_code(shipped))
    check(relative_imports({name: MODULES[name] for name in MODULES.keys() - shipped.keys()}))


def test_script_of_the_model_has_no_relative_import() -> None:
    check(relative_imports({"pyfunc/model.py": MODULES["pyfunc/model.py"]}))


@pytest.mark.parametrize(
    "rule",
    [
        imports_to_the_left,
        imports_against_ranks,
        environment_reads,
        unsafe_calls,
        long_modules,
        heavy_imports_of_types,
        long_signatures,
        modules_outside_rooms,
        rooms_without_a_line,
        crowded_rooms,
        missing_modules,
        tasks_elsewhere,
        hidden_imports,
        flows_named_as_a_library,
    ],
)
def test_application_keeps(rule: Rule) -> None:
    check(rule(MODULES))


def test_application_and_benchmarks_keep_tasks_to_flows() -> None:
    check(imports_of_prefect_tasks(SOURCES))


def test_no_file_of_the_repository_imports_itself() -> None:
    check(cycles(SOURCES | read_modules("tests")))


def test_openvino_is_imported_by_what_keeps_its_telemetry_out_alone() -> None:
    check(imports_of_openvino(SOURCES | read_modules("tests")))
    keeper = imports(KEEPS_TELEMETRY_OUT, MODULES[KEEPS_TELEMETRY_OUT])
    assert "openvino" in {found.name for found in keeper}


def test_tests_lie_where_their_source_lies() -> None:
    folders = {path.rpartition("/")[0] for path in read_modules("tests")} - {"tests"}
    assert len(folders) > 10
    check(unmatched_test_folders(folders, SOURCES))


# And each finds what breaks it


TYPES_ONLY = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
IN_A_FUNCTION = "def work():\n    "

BREAKS: list[tuple[Rule, dict[str, str], list[str]]] = [
    (
        imports_to_the_left,
        {"tasks/common/files.py": "import flows.clean_up"},
        ["tasks/common/files.py:1 imports flows.clean_up"],
    ),
    (
        imports_to_the_left,
        {"pyfunc/spec.py": IN_A_FUNCTION + "import_module('tasks.common')"},
        ["pyfunc/spec.py:2 imports tasks.common"],
    ),
    (
        imports_to_the_left,
        {"deployments/up.py": "from tests.support import builders"},
        ["deployments/up.py:1 imports tests.support.builders"],
    ),
    (
        imports_against_ranks,
        {"tasks/dataset/a.py": "from tasks.training.types import FineTuned"},
        ["tasks/dataset/a.py:1 imports tasks.training.types.FineTuned"],
    ),
    (
        imports_against_ranks,
        {"tasks/scoring/a.py": "from tasks import building"},
        ["tasks/scoring/a.py:1 imports tasks.building"],
    ),
    (
        imports_against_ranks,
        {"tasks/output/a.py": IN_A_FUNCTION + "from tasks.ingestion import formats"},
        ["tasks/output/a.py:2 imports tasks.ingestion.formats"],
    ),
    (
        imports_against_ranks,
        {"tasks/common/a.py": TYPES_ONLY + "from tasks.output.records import Shard"},
        ["tasks/common/a.py:3 imports tasks.output.records.Shard"],
    ),
    (
        imports_against_ranks,
        {"tasks/common/a.py": "import tasks.loose", "tasks/attic/b.py": ""},
        ["tasks/attic: no rank", "tasks/common/a.py:1 imports tasks.loose"],
    ),
    (
        cycles,
        {
            "tasks/common/a.py": "from tasks.common import b",
            "tasks/common/b.py": IN_A_FUNCTION + "from tasks.common.c import work",
            "tasks/common/c.py": TYPES_ONLY + "import tasks.common.a",
            "tasks/common/d.py": "import tasks.common.a",
        },
        ["tasks/common/a.py ↔ tasks/common/b.py ↔ tasks/common/c.py"],
    ),
    (
        cycles,
        {
            "pyfunc/cache/a.py": "from ..b import work",
            "pyfunc/b.py": "from .cache import a",
        },
        ["pyfunc/b.py ↔ pyfunc/cache/a.py"],
    ),
    (
        imports_of_prefect_tasks,
        {
            "flows/clean_up.py": "from tasks.maintenance.prefect_tasks import clean_outputs",
            "tasks/scoring/task_runner.py": "from tasks.scoring.prefect_tasks import score_shard",
            "tasks/scoring/a.py": "from tasks.scoring import prefect_tasks",
        },
        ["tasks/scoring/a.py:1 imports tasks.scoring.prefect_tasks"],
    ),
    (
        imports_of_prefect_tasks,
        {"tasks/scoring/a.py": "from tasks import scoring\nscoring.prefect_tasks.score_shard()"},
        ["tasks/scoring/a.py uses scoring.prefect_tasks"],
    ),
    (
        hidden_imports,
        {
            "tasks/common/a.py": "__import__('tasks.scoring.types')",
            "tasks/common/b.py": "import importlib\nimportlib.import_module(name='tasks.scoring')",
            "tasks/common/c.py": "from importlib import import_module as load",
            "tasks/common/d.py": "import importlib\nimportlib.import_module('.a', 'tasks')",
            "tasks/common/e.py": "import importlib\nimportlib.import_module(f'tasks.{room}')",
            "tasks/common/f.py": "import runpy",
            "tasks/common/g.py": "from pkgutil import resolve_name",
            "tasks/common/h.py": "import importlib\nimportlib.import_module('tasks.common.a')",
            "pyfunc/model.py": "import importlib\nimportlib.import_module(f'{name}.pipeline')",
        },
        [
            "tasks/common/a.py:1 calls __import__",
            "tasks/common/b.py:2 calls importlib.import_module",
            "tasks/common/c.py:1 imports importlib.import_module",
            "tasks/common/d.py:2 calls importlib.import_module",
            "tasks/common/e.py:2 calls importlib.import_module",
            "tasks/common/f.py:1 imports runpy",
            "tasks/common/g.py:1 imports pkgutil.resolve_name",
        ],
    ),
    (
        tasks_elsewhere,
        {
            "tasks/output/a.py": "@task(name='a')\ndef a(): ...\n@prefect.task\ndef b(): ...",
            "tasks/output/c.py": "@step(name='c')\ndef c(): ...",
            "tasks/scoring/prefect_tasks.py": "@task\ndef a(): ...",
        },
        [
            "tasks/output/a.py:2 a is a task",
            "tasks/output/a.py:4 b is a task",
            "tasks/output/c.py:2 c is a task",
        ],
    ),
    (
        heavy_imports_of_types,
        {"tasks/dataset/types.py": "from transformers import AutoTokenizer"},
        ["tasks/dataset/types.py imports transformers"],
    ),
    (
        heavy_imports_of_types,
        {"tasks/dataset/types.py": IN_A_FUNCTION + "from pandas import DataFrame"},
        ["tasks/dataset/types.py imports pandas"],
    ),
    (
        heavy_imports_of_types,
        {
            "tasks/tracking/names.py": "from pyfunc.spec import Kind",
            "pyfunc/__init__.py": "from .model import load",
            "pyfunc/spec.py": IN_A_FUNCTION + "import pandas",
            "pyfunc/model.py": "import mlflow",
        },
        ["tasks/tracking/names.py imports mlflow by way of pyfunc/model.py"],
    ),
    (
        foreign_imports_of_shipped_code,
        {
            "pyfunc/model.py": "import mlflow\nfrom pyfunc import spec",
            "pyfunc/a.py": "import mlflow\nfrom .spec import Kind\nfrom ..tasks import common",
        },
        [
            "pyfunc/model.py:2 imports pyfunc.spec",
            "pyfunc/a.py:1 imports mlflow",
            "pyfunc/a.py:3 imports tasks.common",
        ],
    ),
    (
        relative_imports,
        {
            "flows/clean_up.py": "from .step_selection import Need",
            "pyfunc/model.py": "from . import spec",
            "pyfunc/spec.py": "from . import errors",
        },
        [
            "flows/clean_up.py:1 imports flows.step_selection.Need",
            "pyfunc/model.py:1 imports pyfunc.spec",
        ],
    ),
    (
        imports_of_openvino,
        {
            "pyfunc/spec.py": IN_A_FUNCTION + "import openvino.properties",
            "pyfunc/a.py": TYPES_ONLY + "import openvino",
            KEEPS_TELEMETRY_OUT: "import openvino",
        },
        ["pyfunc/spec.py:2 imports openvino.properties"],
    ),
    (
        environment_reads,
        {
            "flows/a.py": "import os\nhome = os.environ['HOME']",
            "flows/b.py": "from os import getenv",
        },
        ["flows/b.py:1 imports os.getenv", "flows/a.py uses os.environ"],
    ),
    (
        unsafe_calls,
        {
            "tasks/common/a.py": "import pickle",
            "tasks/common/b.py": "run('ls', shell=True)\nos.system('ls')",
        },
        [
            "tasks/common/a.py:1 imports pickle",
            "tasks/common/b.py uses os.system",
            "tasks/common/b.py:1 has shell=",
        ],
    ),
    (
        long_signatures,
        {
            "flows/a.py": "@flow(name='a')\ndef a(b, c, d, e, f, g, h): ...",
            "tasks/common/a.py": "class A:\n    def b(self, c, d, e, /, f, *g, h=1, **i): ...",
        },
        ["tasks/common/a.py:2 b has 7 parameters"],
    ),
    (
        long_modules,
        {"pyfunc/a.py": "\n" * 300, "pyfunc/b.py": "\n" * 301},
        ["pyfunc/b.py has 301 lines"],
    ),
    (
        modules_outside_rooms,
        {
            "tasks/__init__.py": "",
            "tasks/loose.py": "",
            "tasks/common/files.py": "",
            "tasks/common/inner/deep.py": "",
        },
        ["tasks/loose.py", "tasks/common/inner/deep.py"],
    ),
    (
        rooms_without_a_line,
        {
            "tasks/common/__init__.py": '"""What every room uses."""\n',
            "tasks/dataset/__init__.py": '"""Labelled text.\n\nAnd more.\n"""\n',
            "tasks/output/__init__.py": '"""The folder."""\n\nimport tasks.output.folder\n',
            "deployments/server/registration.py": "",
        },
        [
            "deployments/server/__init__.py: expected one line of docstring alone",
            "tasks/dataset/__init__.py: expected one line of docstring alone",
            "tasks/output/__init__.py: expected one line of docstring alone",
        ],
    ),
    (
        crowded_rooms,
        {f"tasks/output/{name}.py": "" for name in ("__init__", *"abcdefghijklmn")},
        ["tasks/output has 14 modules"],
    ),
    (
        missing_modules,
        {
            "tasks/dataset/prefect_tasks.py": "",
            "tasks/tracking/registry.py": "",
            "tasks/common/files.py": "",
        },
        ["tasks/dataset/types.py is missing", "tasks/tracking/names.py is missing"],
    ),
    (
        flows_named_as_a_library,
        {"flows/evaluate.py": "", "flows/requests.py": "", "tasks/evaluate.py": ""},
        ["flows/evaluate.py", "flows/requests.py"],
    ),
]


@pytest.mark.parametrize(
    ("rule", "modules", "violations"),
    [pytest.param(*case, id=f"{case[0].__name__}-{n}") for n, case in enumerate(BREAKS)],
)
def test_a_rule_finds_what_breaks_it(rule: Rule, modules: Modules, violations: list[str]) -> None:
    assert rule(modules) == violations


def test_a_folder_of_tests_without_source_is_found() -> None:
    folders = {
        "tests/support",
        "tests/system/soak",
        "tests/tasks/common",
        "tests/tasks/common/files",
        "tests/tasks/corridor",
    }
    modules = {"tasks/common/files.py": ""}
    assert unmatched_test_folders(folders, modules) == ["tests/tasks/corridor"]
