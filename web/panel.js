// The panel of the search nodes: watch a search grow, stop it, pick from it (docs/panel.md says what the server tells it).
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { isSearching, nodeAt, searchingNodes } from "./panel/nodes.js";
import * as store from "./panel/store.js";
import { View } from "./panel/view.js";

const BLANK = 48; // pixels of height before there is anything to show
const FULL = 500;
const WIDE = 400;

const views = new WeakMap(); // node -> View

function style() {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL("./panel/panel.css", import.meta.url).href;
  document.head.append(link);
}

function addPanel(node) {
  const view = new View(node, () => fit(node));
  views.set(node, view);
  const widget = node.addDOMWidget("noise_search_panel", "noise_search_panel", view.element, {
    serialize: false, // of the prompt
    hideOnZoom: false,
    getMinHeight: () => (view.state ? FULL : BLANK),
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false; // of the workflow
  node.size[0] = Math.max(node.size[0], WIDE); // saved workflows then set their own
}

// Room for what is shown now.
function fit(node) {
  const least = node.computeSize();
  if (node.size[1] < least[1]) node.setSize([node.size[0], least[1]]);
  node.setDirtyCanvas(true, true);
}

function showAll() {
  for (const [id, node] of searchingNodes()) views.get(node)?.show(store.entryOf(id));
}

async function restore() {
  showAll();
  await store.restore().catch(unread);
}

function unread(error) {
  console.warn("NoiseSearch: the history cannot be read.", error);
}

store.onChange((key) => {
  if (!store.belongsHere(key)) return;
  const id = store.nodeOf(key);
  views.get(nodeAt(id))?.show(store.entryOf(id));
});

// At once, not in `setup`: after a reload in mid-run states come before that, and the front end warns of events that nobody hears.
style();
api.addEventListener("noise_search.state", ({ detail }) => store.remember(detail));
api.addEventListener("noise_search.run", () => {}); // for other clients
api.addEventListener("executed", ({ detail }) => store.rememberOutputs({ [detail.node]: detail.output }));
api.addEventListener("execution_interrupted", ({ detail }) => store.ended(detail.prompt_id, "cancelled"));
api.addEventListener("execution_error", ({ detail }) => store.ended(detail.prompt_id, "failed"));
api.addEventListener("execution_success", ({ detail }) => store.succeeded(detail?.prompt_id).catch(unread));

app.registerExtension({
  name: "NoiseSearch.Panel",
  nodeCreated(node) {
    if (isSearching(node)) addPanel(node);
  },
  onNodeOutputsUpdated(outputs) {
    store.rememberOutputs(outputs, true);
  },
  afterConfigureGraph: restore,
});
