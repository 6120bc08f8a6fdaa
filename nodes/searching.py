"""What both search nodes do around a search: the prompt, a pick, stop and keep, what the picture carries, outputs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..compat import COMFYUI
from ..search.drafts import LEAST
from ..search.rollout import Recipe, recipes_to_json
from ..session.carry import KEY, attach, differences, facts_of, files_behind, record_of
from ..session.found import FoundOne
from ..session.journaling import journal_is_on
from ..session.live import Live, viewer_of
from ..session.pick import Pick, read_pick
from ..session.pictures import small
from ..session.progress import announce
from ..session.provenance import Origin
from ..session.report import clean
from ..session.run import Found, search_images
from ..session.stop import Stopper, running
from ..session.drafting import no_fewer
from ..session.wishes import AUTO, Wishes, too_few
from ..verifiers.ensemble import as_ensemble, gated
from .prompt_text import find_prompt
from .sockets import ME, Report

EVERYWHERE = [io.Hidden.unique_id, io.Hidden.prompt, io.Hidden.dynprompt, io.Hidden.extra_pnginfo]
UNCONNECTED = object()  # a socket that nothing is connected to; None: what is connected is not known yet

# {the widgets of a node: how often it was stopped}: a stopped result must not answer "queue again" from ComfyUI's cache
_stops: dict[str, int] = {}


def wishes_of(exactly_reproducible=True, journal=True, **widgets) -> Wishes:
    """What is asked of a search by the widgets of its node, given by their names."""
    return Wishes(exact=exactly_reproducible, journal=journal and journal_is_on(), **widgets)


@dataclass(frozen=True)
class Searching:
    """One run of a search node. entrance: the input that its conditioning comes in by. choose, pick: its widgets."""

    cls: type
    entrance: str
    choose: str
    pick: str

    def node_output(
        self,
        guider,
        sampler,
        sigmas,
        latent,
        seed,
        search,
        verifier,
        vae,
        prompt,
        wishes: Wishes,
        final_sigmas=None,
        denoised=False,
        shorter=None,
    ):
        """Search, or render what was picked; the node's NodeOutput. denoised: whether the second output is the last clean prediction.
        shorter: see `search_images`."""
        picked = read_pick(self.pick)
        node_id, extra = hidden(self.cls, "unique_id"), hidden(self.cls, "extra_pnginfo")
        files = files_behind(hidden(self.cls, "prompt"), node_id)
        if picked:
            search, verifier, prompt = picked.search, None, ""
            if final_sigmas is not None and picked.whole:
                sigmas, final_sigmas = final_sigmas, None
        else:
            verifier = gated(verifier)
            prompt = prompt_for(self.cls, verifier, prompt, self.entrance)
        with running(_key(extra)) as stopper:
            announce(node_id, stopper.run)
            panel = Live(viewer_of(node_id, extra, stopper.run), picked=picked is not None)
            found = search_images(
                guider,
                sampler,
                sigmas,
                latent,
                seed,
                search,
                verifier,
                vae,
                prompt,
                wishes,
                final_sigmas,
                node_id,
                stopper,
                origin_of(self.cls),
                shorter,
                panel,
            )
        self._remember_stop(stopper)
        solver = getattr(getattr(sampler, "sampler_function", None), "__name__", type(sampler).__name__)
        facts = facts_of(guider, solver, sigmas, found.latent["samples"], files)
        found.report["notes"] += self._notes(picked, facts, extra) + _on_the_seed(found.recipes)
        attach(extra, node_id, record_of(found, facts), hidden(self.cls, "prompt"))
        outputs = (found.latent, *([found.denoised] if denoised else []), *outputs_of(found))
        waits = self._waits(picked, extra)
        if waits:
            # the report is no result: Search Report shows the shortlist meanwhile
            outputs = tuple(one if isinstance(one, Report) else ExecutionBlocker(None) for one in outputs)
        shown = panel.ui(found.report["notes"], waits)
        return io.NodeOutput(*outputs, ui={"noise_search": [found.report], **shown})

    def _remember_stop(self, stopper: Stopper) -> None:
        node = graph_of(self.cls).get(str(hidden(self.cls, "unique_id")))
        if stopper.stopped and node:
            key = _widgets(node["inputs"])
            _stops[key] = _stops.get(key, 0) + 1

    def _waits(self, picked: Pick | None, extra: Any) -> bool:
        """Whether a person at a browser chooses, and has not yet."""
        return self.choose == ME and picked is None and _watched(extra)

    def _notes(self, picked: Pick | None, facts: dict, extra: Any) -> list[str]:
        if picked:
            return [
                "This is the picked image, rendered once: nothing was searched.",
                *differences(picked.made, facts),
            ]
        if self.choose == ME and not _watched(extra):
            return ["Nobody is at a browser to choose, so the judge chose."]
        if self.choose == ME:
            return ["You choose: nothing goes on before one of the best images is picked."]
        return []


def _on_the_seed(recipes: list[Recipe]) -> list[str]:
    if all(recipe.is_a_seed for recipe in recipes):
        return []
    return [
        "The seed output is only the seed that the winner started from: in a stock KSampler it gives another image. Use the noise or recipe output for the winner."
    ]


def _watched(extra: Any) -> bool:
    return isinstance(extra, dict) and isinstance(extra.get("workflow"), dict)


def _key(extra: Any) -> Any:
    """The key to stop by that a client chose itself."""
    ours = extra.get(KEY) if isinstance(extra, dict) else None
    return ours.get("run") if isinstance(ours, dict) else None


def stops_of(inputs: dict) -> int:
    """What tells ComfyUI's cache that a stopped search must go on when it is queued again. inputs: as `fingerprint_inputs` gets them,
    linked ones None; a node's id is not to be had there."""
    return _stops.get(_widgets(inputs), 0)


def _widgets(inputs: dict) -> str:
    typed = {
        name: value for name, value in inputs.items() if value is not None and not isinstance(value, list)
    }
    return json.dumps(typed, sort_keys=True, default=str)


def needed(pick: Any, inputs: dict) -> list[str]:
    """The lazy inputs to wait for: a picked image needs neither a search nor a judge."""
    if isinstance(pick, str) and pick.strip():
        return []
    return [name for name in ("verifier", "search") if name in inputs and inputs[name] is None]


def has_judge(candidates, budget_nfe, search, verifier, pick):
    """True, or what to say before the graph is queued. candidates, budget_nfe, pick: None where linked."""
    if pick is None or pick.strip():
        return True
    if verifier is not UNCONNECTED or search is not UNCONNECTED or candidates is None:
        return True
    if candidates == 1 and not budget_nfe:  # the plain sampler: nothing is compared
        return True
    return "A search needs a verifier, but none is connected, or what is connected is muted: connect Load Judge. (candidates = 1 samples without one.)"


def drafts_fit(draft_steps, steps=None):
    """True, or what to say before the graph is queued. None: linked, or not there."""
    if draft_steps in (None, 0, AUTO):
        return True
    if draft_steps < LEAST:
        return too_few(draft_steps)
    return True if steps is None or draft_steps < steps else no_fewer(draft_steps, steps)


def hidden(cls, name: str):
    """A hidden input; None where the node is called without ComfyUI's executor."""
    return getattr(cls.hidden, name, None)


def graph_of(cls) -> dict:
    """The graph as it runs, with the nodes that nodes have put in their own place (loops and the like)."""
    running = hidden(cls, "dynprompt")
    if running is None:
        return hidden(cls, "prompt") or {}
    return {node_id: running.get_node(node_id) for node_id in running.all_node_ids()}


def origin_of(cls) -> Origin | None:
    """The node in the graph that runs; None where it is called without ComfyUI's executor."""
    graph, node_id = hidden(cls, "dynprompt"), hidden(cls, "unique_id")
    return None if graph is None or node_id is None else Origin(graph, str(node_id))


def prompt_for(cls, verifier, prompt: str, entrance: str) -> str:
    """What the user wrote, or the text behind the conditioning where the verifier needs one."""
    if (
        prompt.strip()
        or verifier is None
        or not any(getattr(v, "needs_prompt", False) for v in as_ensemble(verifier).everyone)
    ):
        return prompt.strip()
    return find_prompt(graph_of(cls), hidden(cls, "unique_id"), entrance)


def _pictures(one: FoundOne) -> list:
    """The best few as the report shows them: (candidate, its scores, small picture), best first."""
    return [
        (id, clean(scores), small(image[0]))
        for id, scores, image in zip(one.top_ids, one.top_scores, one.images)
    ]


def outputs_of(found: Found) -> tuple:
    """In the order of `result_outputs` and `later_outputs`."""
    top = [recipe for one in found.found for recipe in one.top_recipes]
    return (
        found.images,
        found.top_images,
        found.top_latents,
        found.seed,
        found.scores[0],
        found.noise(),
        recipes_to_json(found.recipes, COMFYUI),
        Report(found.report, (_pictures(one) for one in found.found)),
        recipes_to_json(top, COMFYUI),
        [recipe.root.seed for recipe in top],
        f"seed_{found.seed}",
    )
