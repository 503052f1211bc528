"""The restore wizard: the steps of `snapkit.cluster.restore` as buttons that unlock one after the other.

It shows what the functions give and hides nothing; whatever it does, they do, and their journal says. So after "restart
and run all" it stands where the journal says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snapkit.cluster.check import PATIENCE
from snapkit.cluster.journal import read
from snapkit.cluster.restore import Outcome, Plan, apply, plan, resume
from snapkit.errors import SnapshotError
from snapkit.jupyter.browser import Browser, ipywidgets, live, prose, stack
from snapkit.page import GREEN, RED, escaped

if TYPE_CHECKING:
    from snapkit.cluster.client import Client
    from snapkit.format.age import Identity
    from snapkit.format.archive import Source


class RestoreWizard(Browser):
    """A restore of an archive into a live cluster, step by step: plan, confirm, restore, check; or roll back.

    There is no way through it without a verified archive, a save of the current state and a typed confirmation. All
    buttons and fields can be reached by Tab and pressed by Space.

    Attributes:
        plan: What a restore will do, once that was asked for.
        outcome: What came of it, once it is at its end.
    """

    def __init__(
        self,
        client: Client,
        src: Source,
        journal: str | os.PathLike[str],
        *,
        keystore: str | os.PathLike[str] | None = None,
        identity: Identity | None = None,
        token_after: str | None = None,
        patience: float = PATIENCE,
    ) -> None:
        """Begin, or stand where the journal says.

        Args:
            client: The live cluster.
            src: The archive.
            journal: Where every step is written; beside it the current state is saved.
            keystore: A copy of a server's keystore folder.
            identity: What opens an archive that is encrypted (age).
            token_after: The secret of a management token that the archive has, where the client's is gone after it.
            patience: Seconds for the cluster to be itself again.

        Raises:
            SnapshotError: ipywidgets is not installed, or the journal was altered.
        """
        widgets = ipywidgets()
        self.plan: Plan | None = None
        self.outcome: Outcome | None = None
        self._client, self._src, self._journal = client, src, Path(journal)
        self._options: dict[str, Any] = {"keystore": keystore, "identity": identity, "token_after": token_after}
        self._patience = patience
        wide = widgets.Layout(width="max-content")
        self.message = prose()
        self.plan_button = widgets.Button(description="1. See what a restore will do", layout=wide)
        self.plan_view = prose()
        self.confirm = widgets.Text(description="Type:", placeholder="ClusterID, first 8 characters", disabled=True)
        self.restore_button = widgets.Button(
            description="2. Save the current state, then restore", layout=wide, disabled=True, button_style="danger"
        )
        self.progress = widgets.IntProgress(layout=widgets.Layout(visibility="hidden"))
        self.outcome_view = prose()
        self.go_on_button = widgets.Button(description="Go on where it stopped", layout=wide)
        self.back_button = widgets.Button(description="Roll back to the saved state", layout=wide)
        self.plan_button.on_click(lambda _: self._do(self._plan_it))
        self.restore_button.on_click(lambda _: self._do(self._restore))
        self.go_on_button.on_click(lambda _: self._do(self._go_on))
        self.back_button.on_click(lambda _: self._do(self._roll_back))
        self.confirm.observe(lambda _: self._unlock(), "value")
        self.widget = stack(
            [
                widgets.HTML(live()),
                self.message,
                self.plan_button,
                self.plan_view,
                widgets.HBox([self.confirm, self.restore_button]),
                self.progress,
                widgets.HBox([self.go_on_button, self.back_button]),
                self.outcome_view,
            ]
        )
        self._stand()

    # -- where it stands

    @property
    def stage(self) -> str:
        """`new`, `planned`, `stopped` (by errors of preflight), `interrupted` or `ended`."""
        if self._journal.exists():
            entries = read(self._journal)
            return "ended" if entries and entries[-1].step == "end" else "interrupted"
        if self.plan is None:
            return "new"
        return "stopped" if self.plan.errors() else "planned"

    def _stand(self) -> None:
        """As the journal says."""
        stage = self.stage
        if stage == "ended" and self.outcome is None:
            self.outcome = resume(self._client, self._journal, **self._options)
        told = {
            "new": ("", "Nothing is changed before you have seen the plan and typed the confirmation."),
            "planned": ("", "Read the plan. To go on, type the first eight characters of the live ClusterID."),
            "stopped": (RED, "Stopped: preflight has errors. Nothing was sent."),
            "interrupted": (RED, f"A restore was interrupted: {self._last()}. Go on, or roll back."),
            "ended": (GREEN if self.outcome is not None and self.outcome.ok else RED, "The restore is at its end."),
        }[stage]
        self._say(*told)
        open_ = stage in ("interrupted", "ended")
        self.plan_button.disabled = open_
        self.go_on_button.disabled = stage != "interrupted"
        back = stage == "interrupted" or (self.outcome is not None and self.outcome.status in ("restored", "unclear"))
        self.back_button.disabled = not back
        self.confirm.disabled = stage not in ("planned", "ended") or (stage == "ended" and not back)
        self.plan_view.value = self.plan._repr_html_() if self.plan is not None else ""
        self.outcome_view.value = self.outcome._repr_html_() if self.outcome is not None else ""
        self._unlock()

    def _last(self) -> str:
        entries = read(self._journal) if self._journal.exists() else ()
        return f"step {entries[-1].step} {entries[-1].event} at {entries[-1].time}" if entries else "before it began"

    def _unlock(self) -> None:
        typed = self.plan is not None and self.confirm.value.strip() == self.plan.confirmation
        self.restore_button.disabled = not (typed and self.stage == "planned")

    def _say(self, colour: str, text: str) -> None:
        style = f' style="color:{colour}"' if colour else ""
        self.message.value = f"<b{style}>{escaped(text)}</b>"

    # -- what its buttons do

    def _do(self, step: Callable[[], None]) -> None:
        """One step; what goes wrong is said, and it stands where the journal says."""
        self.progress.layout.visibility = "visible"
        wrong = ""
        try:
            step()
        except SnapshotError as error:
            wrong = str(error)
        except KeyboardInterrupt:
            if not self._journal.exists():
                wrong = "Interrupted; nothing was sent."
        finally:
            self.progress.layout.visibility = "hidden"
        try:
            self._stand()
        except SnapshotError as error:  # the journal itself can't be read
            wrong = wrong or str(error)
        if wrong:
            self._say(RED, wrong)

    def _plan_it(self) -> None:
        self.plan = None
        self.plan = plan(self._client, self._src, folder=self._journal.parent, **self._options)

    def _restore(self) -> None:
        assert self.plan is not None
        self.outcome = apply(
            self._client,
            self.plan,
            self._src,
            journal=self._journal,
            confirm=self.confirm.value.strip(),
            progress=self._tell,
            patience=self._patience,
            **self._options,
        )

    def _go_on(self) -> None:
        self.outcome = resume(
            self._client, self._journal, progress=self._tell, patience=self._patience, **self._options
        )

    def _roll_back(self) -> None:
        self.outcome = resume(
            self._client,
            self._journal,
            rollback=True,
            confirm=self.confirm.value.strip() or None,
            progress=self._tell,
            patience=self._patience,
            **self._options,
        )

    def _tell(self, done: int, total: int | None) -> None:
        self.progress.max = total or max(done, 1)
        self.progress.value = done

    # -- how it shows itself

    def to_html(self) -> str:
        """What it shows, where there is no kernel: exported, or on a code host."""
        parts = [self.message.value, self.plan_view.value, self.outcome_view.value]
        return "".join(f"<div>{part}</div>" for part in parts if part)

    def __repr__(self) -> str:
        return f"<RestoreWizard {self.stage}>"
