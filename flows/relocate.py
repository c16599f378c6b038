"""Give a state folder that was moved or copied its new place."""

from typing import Annotated

from flows.parameters import described
from tasks.common.console import print_table
from tasks.common.parameter_types import about
from tasks.common.settings import get_settings
from tasks.common.urls import resolved_path
from tasks.maintenance.relocation import relocate as relocate_folder
from tasks.tracking.location import former_folders

Former = Annotated[
    str,
    about(
        "The folder that it was, or is a copy of; empty takes those that its database of MLflow "
        "names."
    ),
]


@described
def relocate(former: Former = "") -> None:
    """Give a state folder that was moved or copied its new place, in all that names the old one.

    The folder is that of MILLSTREAM_HOME. An original is not changed.
    """
    settings = get_settings()
    given = former and resolved_path("former", former, "the folder that it was before")
    folders = (given,) if given else former_folders(settings)
    if not folders:
        print_table("Relocated", {"state folder": settings.root, "named elsewhere": "nowhere"})
    for folder in folders:
        done = relocate_folder(settings, folder)
        print_table("Relocated", {"state folder": settings.root, **done.model_dump()})


if __name__ == "__main__":
    from flows.command_line import run_without_server

    run_without_server(relocate)
