// What the buttons do. Each changes widgets or wires as a person would, so that undo takes it back in one step.
import { app } from "../../../scripts/app.js";
import { api } from "../../../scripts/api.js";
import { widgetOf } from "../widgets.js";
import { asOneStep, queue, setWidget } from "./nodes.js";

const ZERO_ORDER = "NoiseSearchZeroOrder";
const REJECTED = "noise_search_rejected"; // a property of the node: saved with it
const MOST_REJECTED = 400;

// -- stop ------------------------------------------------------------------------------------------------------------------

export async function stop(run) {
  const body = JSON.stringify({ run });
  const headers = { "Content-Type": "application/json" };
  return (await api.fetchApi("/noise_search/stop", { method: "POST", headers, body })).ok;
}

// -- use -------------------------------------------------------------------------------------------------------------------

// `pick` takes one recipe, or one for each sample of a latent batch: for the others their winners.
export function pickOf(state, sample, candidate) {
  if (state.searches.length === 1) return candidate.recipe;
  const recipes = state.searches.map((one, i) => (i === sample ? candidate : winnerOf(one))?.recipe);
  return recipes.every(Boolean) ? JSON.stringify(recipes.map((text) => JSON.parse(text))) : null;
}

export function winnerOf(search) {
  return search.board.find((one) => one.id === search.chosen) ?? search.board[0];
}

// Why a candidate cannot go on now; "" where it can. The images of a batch go on together.
export function whyNotUse(state, sample, candidate) {
  if (pickOf(state, sample, candidate)) return "";
  const lacking = state.searches.findIndex((one, i) => i !== sample && !winnerOf(one)?.recipe);
  if (lacking < 0) return "Wait until the search is over";
  const image = `Image ${lacking + 1}`;
  return state.searches[lacking].phase === "done"
    ? `${image} has no candidate that can go on, and the images of a batch go on together: search again`
    : `${image} has no candidate that can go on yet, and the images of a batch go on together: wait for it`;
}

export async function use(node, state, sample, candidate) {
  const pick = pickOf(state, sample, candidate);
  if (state.run) await stop(state.run);
  asOneStep(node, () => setWidget(node, "pick", pick));
  await queue();
}

export function isPicked(node) {
  return Boolean(widgetOf(node, "pick")?.value?.trim?.());
}

export function searchAgain(node) {
  asOneStep(node, () => setWidget(node, "pick", ""));
}

export async function searchMore(node, more) {
  asOneStep(node, () => {
    setWidget(node, "pick", "");
    setWidget(node, "candidates", widgetOf(node, "candidates").value + more);
  });
  await queue();
}

// -- copy ------------------------------------------------------------------------------------------------------------------

export async function copy(candidate) {
  const text = candidate.plain ? candidate.seed : candidate.recipe;
  if (navigator.clipboard && window.isSecureContext) await navigator.clipboard.writeText(text);
  else copyByHand(text); // over plain HTTP from another machine
  return candidate.plain ? `Seed ${candidate.seed} copied` : "Recipe copied";
}

function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// -- more like this ------------------------------------------------------------------------------------------------------------

// Why there can be no variations of it; "" where there can.
export function whyNotAround(candidate) {
  if (!candidate.recipe) return "Wait until the search is over";
  const recipe = JSON.parse(candidate.recipe);
  return (Array.isArray(recipe) ? recipe[0] : recipe).pieces?.length === 1
    ? ""
    : "Made along a path: there is no single noise to vary";
}

// Zero-order search around a candidate: the settings node that is wired already, or a new one in its place.
export async function moreLikeThis(node, candidate) {
  const slot = node.inputs.findIndex((input) => input.name === "search");
  asOneStep(node, () => {
    const around = wiredZeroOrder(node, slot) ?? addZeroOrder(node, slot);
    setWidget(around, "around", candidate.recipe);
    setWidget(node, "pick", "");
  });
  await queue();
}

function wiredZeroOrder(node, slot) {
  const before = node.getInputNode(slot);
  return (before?.comfyClass ?? before?.type) === ZERO_ORDER ? before : null;
}

function addZeroOrder(node, slot) {
  const settings = window.LiteGraph.createNode(ZERO_ORDER);
  const [width, height] = settings.size;
  settings.pos = freePlace(node, width, height);
  node.graph.add(settings);
  if (node.inputs[slot].link != null) node.disconnectInput(slot);
  settings.connectByType(0, node, "NOISE_SEARCH");
  return settings;
}

// Left of the node, above what is there already.
function freePlace(node, width, height) {
  const place = [node.pos[0] - width - 40, node.pos[1] - height - 60];
  const others = node.graph.nodes ?? node.graph._nodes ?? [];
  const taken = () =>
    others.some(
      (other) =>
        other.pos[0] < place[0] + width &&
        place[0] < other.pos[0] + other.size[0] &&
        other.pos[1] - 30 < place[1] + height &&
        place[1] - 30 < other.pos[1] + other.size[1],
    );
  for (let tries = 0; tries < 20 && taken(); tries++) place[1] -= height + 60;
  return place;
}

// -- reject ----------------------------------------------------------------------------------------------------------------------

function mark(candidate) {
  return candidate.recipe ? digest(candidate.recipe) : null;
}

// A short name for a long text (cyrb53): enough to tell some hundred recipes apart.
function digest(text) {
  let [a, b] = [0xdeadbeef, 0x41c6ce57];
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    a = Math.imul(a ^ code, 2654435761);
    b = Math.imul(b ^ code, 1597334677);
  }
  a = Math.imul(a ^ (a >>> 16), 2246822507) ^ Math.imul(b ^ (b >>> 13), 3266489909);
  b = Math.imul(b ^ (b >>> 16), 2246822507) ^ Math.imul(a ^ (a >>> 13), 3266489909);
  return (4294967296 * (2097151 & b) + (a >>> 0)).toString(36);
}

function marks(node) {
  const value = node.properties?.[REJECTED];
  return Array.isArray(value) ? value : [];
}

function setMarks(node, value) {
  asOneStep(node, () => (node.properties[REJECTED] = value));
  app.extensionManager?.workflow?.activeWorkflow?.changeTracker?.checkState?.();
}

export function isRejected(node, candidate) {
  const own = mark(candidate);
  return own !== null && marks(node).includes(own);
}

export function reject(node, candidate) {
  const own = mark(candidate);
  if (own) setMarks(node, [...marks(node).filter((other) => other !== own), own].slice(-MOST_REJECTED));
}

export function takeBack(node, candidates) {
  const those = candidates.map(mark);
  setMarks(node, marks(node).filter((other) => !those.includes(other)));
}
