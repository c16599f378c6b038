"""Prefect's user interface in a browser, worked by what a user reads on it.

Prefect ships two. This is the second, at `/v2/`, which its server opens where nothing else is asked
for; it can do all that the first can.
"""

import re

from playwright.sync_api import Locator, Page, expect

OPTIONAL = r"( \(Optional\))?"


class PrefectUI:
    """The interface of the server at `address`, in the window `page`."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self._address = f"{address}/v2"

    @property
    def main(self) -> Locator:
        """The page without the navigation beside it."""
        return self.page.get_by_role("main")

    # Deployments and their form

    def open_deployments(self) -> None:
        self.page.goto(f"{self._address}/dashboard")
        self.page.get_by_role("link", name="Deployments").click()
        self.main.get_by_role("link", name="score-files").wait_for()

    def open_form(self, flow: str, deployment: str) -> None:
        """Go from the list of deployments to the form for a custom run of one."""
        self.open_deployments()
        self.page.get_by_role("textbox", name="Search deployments").fill(flow)
        # The search changes the address when typing has ended, and would undo a click before that.
        expect(self.page).to_have_url(re.compile(flow))
        row = self.page.get_by_role("row").filter(
            has=self.page.get_by_role("link", name=flow, exact=True)
        )
        row.get_by_role("link", name=deployment, exact=True).click()
        self.main.get_by_role("button", name="Run", exact=True).click()
        self.page.get_by_role("menuitem", name="Custom run").click()
        self.main.get_by_role("heading", name="Parameters").wait_for()

    def field(self, parameter: str) -> Locator:
        """Return the part of the form that holds a parameter's name, description, input, error."""
        label = self.main.locator("label").filter(has_text=re.compile(rf"^{parameter}{OPTIONAL}$"))
        # The inputs of lists and of values that may be missing are not tied to the label.
        return label.locator("xpath=ancestor::div[fieldset][1]")

    def scroll_to(self, parameter: str) -> None:
        """Bring a parameter into the middle of the window, as far as the form goes."""
        self.field(parameter).evaluate("field => field.scrollIntoView({block: 'center'})")

    def fill(self, **values: str) -> None:
        """Type values of parameters, where the form shows a line or a number."""
        for parameter, value in values.items():
            self.main.get_by_label(parameter).fill(value)

    def fill_list(self, parameter: str, *values: str) -> None:
        field = self.field(parameter)
        for place, value in enumerate(values):
            field.get_by_role("button", name="Add item").click()
            field.get_by_role("textbox").nth(place).fill(value)

    def fill_optional(self, parameter: str, value: str) -> None:
        """Type a value where the default is none."""
        field = self.field(parameter)
        field.get_by_role("tab", name="str").click()
        field.get_by_role("textbox").fill(value)

    def open_choices(self, parameter: str) -> Locator:
        """Open the list of a parameter's values and return them."""
        self.main.get_by_role("button", name=f"Select {parameter}").click()
        choices = self.page.get_by_role("option")
        choices.first.wait_for()
        return choices

    def press_submit(self) -> None:
        self.main.get_by_role("button", name="Submit").click()

    def submit(self, name: str) -> str:
        """Submit the form as a run of this name, go to the run and return its id."""
        self.main.get_by_role("textbox", name="Run Name").fill(name)
        self.press_submit()
        notice = self.page.get_by_role("listitem").filter(has_text=f"{name} scheduled to start now")
        notice.get_by_role("link", name="View run").click()
        self.page.mouse.move(0, 0)  # a notice stays while the mouse is over it
        self.main.get_by_role("tab", name="Logs").wait_for()
        return self.page.url.partition("/flow-run/")[2].partition("?")[0]

    # Runs and their artifacts

    def open_run(self, run: str) -> None:
        self.page.goto(f"{self._address}/runs/flow-run/{run}")
        self.main.get_by_role("tab", name="Logs").wait_for()

    def expect_state(self, name: str, patience_s: float = 600) -> None:
        """Wait until the run on the page shows this state."""
        state = self.main.get_by_text(name, exact=True).first
        expect(state).to_be_visible(timeout=patience_s * 1000)

    def choose(self, action: str) -> None:
        """Take an entry of the run's menu."""
        self.main.get_by_role("button", name="Open menu").click()
        self.page.get_by_role("menuitem", name=action).click()

    def open_artifacts(self) -> None:
        self.main.get_by_role("tab", name="Artifacts").click()

    def open_artifact(self, key: str, run_name: str) -> None:
        """Go from a run's artifacts to the one of this key."""
        self.main.get_by_role("link", name=key).click()
        # Now the artifacts of this key are listed, with links to the run of each.
        link = self.main.get_by_role("link", name=run_name, exact=True).first
        card = link.locator("xpath=ancestor::div[.//a[contains(@href, '/artifacts/artifact/')]][1]")
        card.get_by_role("link", name=re.compile(r"^[0-9a-f]{8}$")).click()
        self.main.get_by_role("tabpanel", name="Artifact").wait_for()
